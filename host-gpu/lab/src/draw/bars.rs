//! Panels of bars, lying or upright.

use super::{Area, Kind, Layout, Outcome, Panel, Series, ends, reach, text_of};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// Names of the bars' places in their order: those that the axis marks, then others.
fn labels(panel: &Panel) -> Vec<&str> {
    let marked = panel.x.ticks.iter().map(|(_, text)| text.as_str());
    let points = panel.series.iter().flat_map(|series| &series.points);
    let mut labels: Vec<&str> = Vec::new();
    for label in marked.chain(points.map(|point| point.label.as_deref().unwrap_or(""))) {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels
}

/// Whether the series has a bar of that name.
fn has(series: &Series, label: &str) -> bool {
    series.points.iter().any(|point| point.label.as_deref().unwrap_or("") == label)
}

/// The ends of the axis of lengths: bars begin at 0 unless the axis does not have it.
fn reach_of(panel: &Panel) -> (f64, f64) {
    let lengths = || panel.series.iter().flat_map(|series| series.points.iter().flat_map(reach)).chain([0.0]);
    let (low, high) = ends(&panel.y, lengths());
    match panel.y.range {
        Some(_) => (low, high),
        None if lengths().all(|length| length == 0.0) => (0.0, 1.0),
        // Upright, the number of the longest stands above it.
        None if panel.kind == Kind::Columns => (low.min(0.0), 1.12 * lengths().fold(0.0, f64::max)),
        None => (if lengths().all(|length| length >= 0.0) { 0.0 } else { low }, high),
    }
}

impl Layout<'_> {
    pub(super) fn bars<B: DrawingBackend<ErrorType: 'static>>(&self, area: &Area<B>, panel: &Panel) -> Outcome {
        let upright = panel.kind == Kind::Columns;
        let labels = labels(panel);
        let count = labels.len().max(1) as f64;
        let (low, high) = reach_of(panel);
        let zero = 0.0_f64.clamp(low, high);
        let room = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0) as u32;
        let [below, side, right] = match upright {
            true => [32, self.style.side, self.style.margin],
            false => [46, (20 + 8 * room).clamp(40, self.style.panel.0 / 2), 44],
        };
        let mut builder = ChartBuilder::on(area);
        builder
            .margin(self.px(self.style.margin))
            .margin_right(self.px(right))
            .x_label_area_size(self.px(below))
            .y_label_area_size(self.px(side));
        if !panel.title.is_empty() {
            builder.caption(&panel.title, self.font(self.style.text));
        }
        let (across, along) = if upright { (0.0..count, low..high) } else { (low..high, count..0.0) };
        let mut chart = builder.build_cartesian_2d(across, along)?;
        let formatter = |value: &f64| text_of(*value);
        let mut mesh = chart.configure_mesh();
        mesh.label_style(self.font(self.style.small))
            .axis_desc_style(self.font(self.style.small))
            .axis_style(self.thin(self.style.axis))
            .bold_line_style(self.grid())
            .light_line_style(TRANSPARENT)
            .set_all_tick_mark_size(self.px(5));
        match upright {
            true => mesh.disable_x_mesh().disable_x_axis().y_desc(&panel.y.name).y_labels(6),
            false => mesh.disable_y_mesh().disable_y_axis().x_desc(&panel.y.name).x_labels(6),
        };
        mesh.x_label_formatter(&formatter).y_label_formatter(&formatter).draw()?;

        let (width, height) = chart.plotting_area().dim_in_pixel();
        for (place, label) in labels.iter().enumerate() {
            let middle = |length: u32| (f64::from(length) * (place as f64 + 0.5) / count).round() as i32;
            let (at, style) = match upright {
                true => ((middle(width), height as i32 + self.at(8)), self.placed_font(HPos::Center, VPos::Top)),
                false => ((self.at(-6), middle(height)), self.placed_font(HPos::Right, VPos::Center)),
            };
            chart.plotting_area().strip_coord_spec().draw_text(label, &style, at)?;
        }
        // Where no name has bars of all series, those that it has stand close together.
        let together = |label: &&str| panel.series.iter().filter(|series| has(series, label)).count();
        let slots = labels.iter().map(together).max().unwrap_or(0).max(1);
        // Numbers stand above upright bars where these are wide enough for them.
        let numbered = !upright || f64::from(width) / (count * slots as f64) > f64::from(self.px(40));
        for (index, series) in panel.series.iter().enumerate() {
            let colour = self.colour_of(series);
            for point in &series.points {
                let label = point.label.as_deref().unwrap_or("");
                let Some(place) = labels.iter().position(|other| *other == label) else { continue };
                let before = || panel.series[..index].iter().filter(|series| has(series, label)).count();
                let slot = if slots == panel.series.len() { index } else { before() };
                let (edge, room) = if upright { (0.08, 0.84) } else { (0.1, 0.8) };
                let across = |part: f64| place as f64 + edge + room * (slot as f64 + part) / slots as f64;
                let at = |along: f64, part: f64| if upright { (across(part), along) } else { (along, across(part)) };
                let end = point.y.clamp(low, high);
                let style = if series.published { self.stroke(colour) } else { colour.filled() };
                chart.draw_series([Rectangle::new([at(zero, 0.05), at(end, 0.95)], style)])?;
                let [from, to] = reach(point).map(|value| value.clamp(low, high));
                if point.error.is_some() {
                    chart.draw_series([PathElement::new([at(from, 0.5), at(to, 0.5)], self.thin(self.style.ink))])?;
                }
                if numbered {
                    let (shift, style) = match upright {
                        true => ((0, self.at(-2)), self.placed_font(HPos::Center, VPos::Bottom)),
                        false => ((self.at(4), 0), self.placed_font(HPos::Left, VPos::Center)),
                    };
                    let number = EmptyElement::at(at(end.max(to), 0.5)) + Text::new(text_of(point.y), shift, style);
                    chart.draw_series([number])?;
                }
            }
        }
        Ok(())
    }
}
