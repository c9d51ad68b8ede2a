//! Panels of lines, curves and points.

use super::{Area, Axis, Kind, Layout, Outcome, Panel, Point, ends, placed, reach, text_of};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Whether an axis has a place for the value.
fn has_place(axis: &Axis, value: f64) -> bool {
    !axis.log || value > 0.0
}

/// The ends of both axes.
fn ranges(panel: &Panel) -> [(f64, f64); 2] {
    let all = || panel.series.iter().flat_map(|series| &series.points);
    if panel.kind == Kind::Curves {
        let first = all().map(|point| point.x).fold(0.0, f64::min);
        let last = all().map(|point| point.x).fold(1.0, f64::max);
        return [(first, last), body(all().map(|point| point.y).collect())];
    }
    let heights = all().flat_map(reach).filter(|height| has_place(&panel.y, *height));
    [ends(&panel.x, all().map(|point| point.x)), ends(&panel.y, heights)]
}

/// The ends of an axis that shows these heights, but for the highest 2 in 100, which the first steps often are.
fn body(mut heights: Vec<f64>) -> (f64, f64) {
    heights.sort_by(f64::total_cmp);
    let low = heights.first().copied().unwrap_or(0.0);
    let high = heights.get((heights.len() * 98 / 100).min(heights.len().saturating_sub(1))).copied().unwrap_or(1.0);
    let pad = if high > low { 0.06 * (high - low) } else { 0.5 };
    (if low >= 0.0 { (low - pad).max(0.0) } else { low - pad }, high + pad)
}

impl Layout<'_> {
    pub(super) fn points<B: DrawingBackend<ErrorType: 'static>>(&self, area: &Area<B>, panel: &Panel) -> Outcome {
        let [(left, right), (low, high)] = ranges(panel);
        let mut builder = ChartBuilder::on(area);
        builder
            .margin(self.px(self.style.margin))
            .margin_right(self.px(self.style.right))
            .x_label_area_size(self.px(46))
            .y_label_area_size(self.px(self.style.side));
        if !panel.title.is_empty() {
            builder.caption(&panel.title, self.font(self.style.text));
        }
        let mut chart = builder.build_cartesian_2d(left..right, low..high)?;
        self.axes(&mut chart, panel, (left, right))?;
        for series in &panel.series {
            let colour = self.colour_of(series);
            let place = |point: &Point, y: f64| (placed(&panel.x, point.x), placed(&panel.y, y).clamp(low, high));
            let centre = |point: &Point| place(point, point.y);
            let line = series.points.iter().map(centre);
            let dotted = panel.kind != Kind::Curves || series.points.len() == 1;
            match panel.kind {
                Kind::Lines if series.published => {
                    chart.draw_series(DashedLineSeries::new(line, self.px(5), self.px(4), self.stroke(colour)))?;
                }
                Kind::Lines => drop(chart.draw_series(LineSeries::new(line, self.stroke(colour)))?),
                Kind::Curves if !dotted => drop(chart.draw_series(LineSeries::new(line, self.stroke(colour)))?),
                _ => {}
            }
            for point in series.points.iter().filter(|_| dotted) {
                if point.error.is_some() {
                    let [bottom, top] =
                        reach(point).map(|y| if has_place(&panel.y, y) { place(point, y).1 } else { low });
                    let (x, y) = (placed(&panel.x, point.x), placed(&panel.y, point.y));
                    chart.draw_series([ErrorBar::new_vertical(x, bottom, y, top, self.thin(colour), self.px(7))])?;
                }
                let (size, style) = if series.published { (4, self.stroke(colour)) } else { (3, colour.filled()) };
                chart.draw_series([Circle::new(centre(point), self.px(size), style)])?;
                if let Some(label) = &point.label {
                    // On the side where there is more room.
                    let (x, y) = centre(point);
                    let (side, shift) = if x > (left + right) / 2.0 { (HPos::Right, -8) } else { (HPos::Left, 8) };
                    let style = self.placed_font(side, VPos::Center);
                    let label = EmptyElement::at((x, y)) + Text::new(label.clone(), (self.at(shift), 0), style);
                    chart.draw_series([label])?;
                }
            }
        }
        Ok(())
    }

    fn axes<B: DrawingBackend<ErrorType: 'static>>(
        &self,
        chart: &mut Chart<'_, B>,
        panel: &Panel,
        (left, right): (f64, f64),
    ) -> Outcome {
        let unscaled = |axis: &Axis, value: f64| text_of(if axis.log { value.exp2() } else { value });
        let heights = |value: &f64| unscaled(&panel.y, *value);
        let formatter = |value: &f64| unscaled(&panel.x, *value);
        let mut mesh = chart.configure_mesh();
        mesh.y_desc(&panel.y.name)
            .x_desc(&panel.x.name)
            .y_labels(6)
            .y_label_formatter(&heights)
            .label_style(self.font(self.style.small))
            .axis_desc_style(self.font(self.style.small))
            .axis_style(self.thin(self.style.axis))
            .bold_line_style(self.grid())
            .light_line_style(TRANSPARENT)
            .set_all_tick_mark_size(self.px(5));
        if panel.x.ticks.is_empty() {
            mesh.x_labels(6).x_label_formatter(&formatter).draw()?;
            return Ok(());
        }
        mesh.disable_x_mesh().x_labels(0).draw()?;
        let (width, height) = chart.plotting_area().dim_in_pixel();
        let style = self.placed_font(HPos::Center, VPos::Top);
        for (value, text) in &panel.x.ticks {
            let place = (placed(&panel.x, *value) - left) / (right - left);
            if (0.0..=1.0).contains(&place) {
                let (x, y) = ((place * f64::from(width)).round() as i32, height as i32);
                let pixels = chart.plotting_area().strip_coord_spec();
                pixels.draw_text(text, &style, (x, y + self.at(7)))?;
                pixels.draw(&PathElement::new([(x, y), (x, y + self.at(4))], self.thin(self.style.axis)))?;
            }
        }
        Ok(())
    }
}
