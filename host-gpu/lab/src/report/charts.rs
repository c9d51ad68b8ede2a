//! Charts as SVG text without names of any kind from files: legends are the page's.
//!
//! Text, axes and grid have colours that the page's style sheet replaces, so that they suit light and dark.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error as AnyError;

/// Size of every chart; the page scales it to its column. Small, so that text stays readable on a phone.
const SIZE: (u32, u32) = (620, 350);
const TEXT: (&str, u32) = ("sans-serif", 18);
/// Stand-ins that the style sheet replaces: the colour of text, and of axes and grid.
pub const INK: RGBColor = RGBColor(1, 1, 1);
pub const GRID: RGBColor = RGBColor(2, 2, 2);

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its colour.
    pub colour: RGBColor,
    /// Its points from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Bars that stand together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its name below them.
    pub name: String,
    /// Colours and heights; a bar without a height leaves its place empty.
    pub bars: Vec<(RGBColor, Option<f64>)>,
}

/// The colour of the run with that index: ten that are told apart by most eyes, then darker, then lighter ones.
pub(crate) fn run_colour(index: usize) -> RGBColor {
    const TEN: [(u8, u8, u8); 10] = [
        (66, 105, 208),
        (226, 121, 24),
        (32, 158, 110),
        (214, 69, 80),
        (145, 92, 214),
        (0, 160, 190),
        (200, 160, 0),
        (222, 96, 160),
        (130, 100, 75),
        (120, 130, 140),
    ];
    let (red, green, blue) = TEN[index % TEN.len()];
    let toward = |value: u8, target: f64| (f64::from(value) * 0.55 + target * 0.45).round() as u8;
    match index / TEN.len() % 3 {
        0 => RGBColor(red, green, blue),
        1 => RGBColor(toward(red, 40.0), toward(green, 40.0), toward(blue, 40.0)),
        _ => RGBColor(toward(red, 235.0), toward(green, 235.0), toward(blue, 235.0)),
    }
}

/// The colour of a layer among `layers`: from blue at the input to red at the top.
pub fn layer_colour(layer: usize, layers: usize) -> RGBColor {
    let place = layer as f64 / layers.saturating_sub(1).max(1) as f64;
    let (red, green, blue) = HSLColor(0.61 * (1.0 - place), 0.62, 0.47).rgb();
    RGBColor(red, green, blue)
}

/// As the style sheet writes it.
pub fn css(colour: RGBColor) -> String {
    format!("#{:02x}{:02x}{:02x}", colour.0, colour.1, colour.2)
}

type Outcome = Result<String, Box<dyn AnyError>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws into SVG text.
fn draw(paint: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn AnyError>>) -> Outcome {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    paint(&area)?;
    area.present()?;
    drop(area);
    Ok(text)
}

/// Lines over a common axis; the vertical one begins and ends with the values, but for the highest 2 in 100, which
/// the first steps often are.
///
/// # Errors
/// Where the library refuses.
pub fn lines(lines: &[Line], x_name: &str, y_name: &str) -> Outcome {
    let points = || lines.iter().flat_map(|line| &line.points);
    let mut heights: Vec<f64> = points().map(|point| point.1).collect();
    heights.sort_by(f64::total_cmp);
    let low = heights.first().copied().unwrap_or(0.0);
    let high = heights.get((heights.len() * 98 / 100).min(heights.len().saturating_sub(1))).copied().unwrap_or(1.0);
    let pad = if high > low { 0.06 * (high - low) } else { 0.5 };
    let (low, high) = (if low >= 0.0 { (low - pad).max(0.0) } else { low - pad }, high + pad);
    let first = points().map(|point| point.0).fold(f64::INFINITY, f64::min).min(0.0);
    let last = points().map(|point| point.0).fold(1.0, f64::max);
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(18)
            .x_label_area_size(46)
            .y_label_area_size(66)
            .build_cartesian_2d(first..last, low..high)?;
        chart
            .configure_mesh()
            .x_desc(x_name)
            .y_desc(y_name)
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .label_style(TEXT.into_font().color(&INK))
            .axis_desc_style(TEXT.into_font().color(&INK))
            .axis_style(GRID)
            .bold_line_style(GRID.mix(0.35))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for Line { colour, points } in lines {
            let clipped = points.iter().map(|(x, y)| (*x, y.clamp(low, high)));
            if points.len() == 1 {
                chart.draw_series(clipped.map(|point| Circle::new(point, 4, colour.filled())))?;
            } else {
                chart.draw_series(LineSeries::new(clipped, colour.stroke_width(2)))?;
            }
        }
        Ok(())
    })
}

/// Groups of bars from 0 up.
///
/// # Errors
/// Where the library refuses.
pub fn bars(groups: &[Group], y_name: &str) -> Outcome {
    let heights = groups.iter().flat_map(|group| &group.bars).filter_map(|bar| bar.1);
    let highest = heights.fold(0.0, f64::max);
    let top = if highest > 0.0 { 1.12 * highest } else { 1.0 };
    let most = groups.iter().map(|group| group.bars.len()).max().unwrap_or(1);
    let (places, slots) = (groups.len().max(1) as f64, most.max(1) as f64);
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(32)
            .y_label_area_size(66)
            .build_cartesian_2d(0.0..places, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .y_desc(y_name)
            .y_labels(6)
            .y_label_formatter(&|y| short(*y))
            .label_style(TEXT.into_font().color(&INK))
            .axis_desc_style(TEXT.into_font().color(&INK))
            .axis_style(GRID)
            .bold_line_style(GRID.mix(0.35))
            .light_line_style(TRANSPARENT)
            .draw()?;
        let (width, height) = chart.plotting_area().dim_in_pixel();
        // Numbers stand above the bars where they are wide enough for them.
        let numbered = f64::from(width) / (places * slots) > 40.0;
        let centred = |vertical: VPos| TEXT.into_font().color(&INK).pos(Pos::new(HPos::Center, vertical));
        for (place, group) in groups.iter().enumerate() {
            for (slot, (colour, height)) in group.bars.iter().enumerate() {
                let Some(height) = *height else { continue };
                let x = |edge: f64| place as f64 + 0.08 + 0.84 * (slot as f64 + edge) / slots;
                chart.draw_series([Rectangle::new([(x(0.06), 0.0), (x(0.94), height)], colour.filled())])?;
                if numbered {
                    chart.draw_series([Text::new(short(height), (x(0.5), height), centred(VPos::Bottom))])?;
                }
            }
            let x = f64::from(width) * (place as f64 + 0.5) / places;
            let below = (x.round() as i32, height as i32 + 8);
            chart.plotting_area().strip_coord_spec().draw_text(&group.name, &centred(VPos::Top), below)?;
        }
        Ok(())
    })
}

/// A number in as few digits as an axis needs.
pub(crate) fn short(number: f64) -> String {
    let digits = match number.abs() {
        0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{number:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_hold_what_they_are_given_and_nothing_for_nothing() {
        let line = |points: &[(f64, f64)]| Line { colour: run_colour(3), points: points.to_vec() };
        let text =
            lines(&[line(&[(0.0, 2.0), (10.0, 1.0), (20.0, 1.5)]), line(&[(5.0, 1.2)])], "step", "loss").unwrap();
        assert_eq!(text.matches("<polyline fill=\"none\" opacity=\"1\" stroke=\"#D64550\"").count(), 1, "{text}");
        assert_eq!(text.matches("<circle").count(), 1, "{text}");
        for points in [&[][..], &[(0.0, 0.0)], &[(3.0, 2.0), (4.0, 2.0)], &[(1.0, -3.0), (2.0, -2.0)]] {
            let text = lines(&[line(points)], "step", "loss").unwrap();
            assert!(text.starts_with("<svg") && !text.contains("NaN"), "{text}");
        }
        let group = |name: &str, height| Group { name: name.into(), bars: vec![(run_colour(0), height)] };
        let text = bars(&[group("0", Some(50.0)), group("1", None), group("all", Some(25.0))], "%").unwrap();
        assert_eq!(text.matches("fill=\"#4269D0\"").count(), 2, "{text}");
        assert!(text.contains("\nall\n") && text.contains("\n50\n") && text.contains("\n25\n"), "{text}");
        assert!(bars(&[], "%").is_ok() && bars(&[group("0", None)], "%").is_ok());
    }

    #[test]
    fn numbers_on_axes_are_short() {
        let list = [0.0, 1.0, 2.5, 0.125, 57.04, 57.44, 1200.0, -0.5];
        assert_eq!(list.map(short), ["0", "1", "2.5", "0.125", "57", "57.4", "1200", "-0.5"]);
    }

    #[test]
    fn thirty_runs_have_thirty_colours() {
        let colours: std::collections::HashSet<String> = (0..30).map(|run| css(run_colour(run))).collect();
        assert_eq!(colours.len(), 30);
    }
}
