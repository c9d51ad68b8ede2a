//! Figures to SVG, and the same picture to PNG.

use super::figure::{Axis, Figure, Kind, Panel, Point, Series};
use crate::report::{run_colour, short};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};
use std::error::Error as AnyError;
use std::sync::Arc;

/// Size of a panel, in pixels of the SVG.
const PANEL: (u32, u32) = (460, 340);
/// Height of a line of the legend.
const LEGEND: u32 = 24;
/// Panels in a row.
const ROW: usize = 3;
/// How much finer the PNG is.
const SCALE: f32 = 2.0;
const FONT: &str = "sans-serif";
const SMALL: (&str, u32) = (FONT, 13);
const TEXT: (&str, u32) = (FONT, 15);
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

type Outcome<T = ()> = Result<T, Box<dyn AnyError>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a figure as SVG text.
///
/// # Errors
/// Where the library refuses.
pub fn svg(figure: &Figure) -> Outcome<String> {
    let names = names(figure);
    let columns = figure.panels.len().clamp(1, if figure.panels.len() == 4 { 2 } else { ROW });
    let rows = figure.panels.len().div_ceil(columns).max(1);
    let width = PANEL.0 * columns as u32;
    let entries = places(&names, width as i32);
    let lines = entries.last().map_or(0, |entry| entry.1 as u32 + 1);
    let size = (width, PANEL.1 * rows as u32 + LEGEND * lines + 8);
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (above, below) = root.split_vertically(PANEL.1 * rows as u32);
        for (area, panel) in above.split_evenly((rows, columns)).iter().zip(&figure.panels) {
            match panel.kind {
                Kind::Bars => bars(area, panel, &names)?,
                Kind::Lines | Kind::Scatter => points(area, panel, &names)?,
            }
        }
        legend(&below, &names, &entries)?;
        root.present()?;
    }
    Ok(text)
}

/// The same picture as PNG, two pixels for one.
///
/// # Errors
/// Where the library refuses.
pub fn png(svg: &str) -> Outcome<Vec<u8>> {
    // The fonts of the machine would make another picture on each.
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(svg, &options)?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or("no size")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or("no size")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    Ok(pixels.encode_png()?)
}

/// The series of all panels by name, each once, with whether they are published numbers. A name that all its series
/// leave empty has no entry in the legend.
fn names(figure: &Figure) -> Vec<(String, bool)> {
    let mut names: Vec<(String, bool)> = Vec::new();
    for series in figure.panels.iter().flat_map(|panel| &panel.series) {
        if !names.iter().any(|(name, _)| *name == series.name) {
            names.push((series.name.clone(), series.published));
        }
    }
    names
}

/// Where the legend's entries stand: left edge and line.
fn places(names: &[(String, bool)], width: i32) -> Vec<(i32, i32)> {
    let (mut x, mut line) = (16, 0);
    let mut places = Vec::new();
    for (name, _) in names {
        let length = 44 + 8 * name.chars().count() as i32;
        if x > 16 && x + length > width {
            (x, line) = (16, line + 1);
        }
        places.push((x, line));
        x += length;
    }
    places
}

fn legend(area: &Area<'_>, names: &[(String, bool)], places: &[(i32, i32)]) -> Outcome {
    // One series needs no legend.
    if names.len() < 2 {
        return Ok(());
    }
    for (index, ((name, published), (x, line))) in names.iter().zip(places).enumerate() {
        let (colour, y) = (run_colour(index), line * LEGEND as i32 + 12);
        let style = colour.stroke_width(2);
        if *published {
            area.draw(&Circle::new((x + 12, y), 4, style))?;
        } else {
            area.draw(&PathElement::new([(*x, y), (x + 24, y)], style))?;
            area.draw(&Circle::new((x + 12, y), 3, colour.filled()))?;
        }
        let style = TEXT.into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw_text(name, &style, (x + 30, y))?;
    }
    Ok(())
}

/// The values of an axis as the drawing places them.
fn placed(axis: &Axis, value: f64) -> f64 {
    if axis.log { value.log2() } else { value }
}

/// The ends of an axis: as said, or a little beyond its points.
fn ends(axis: &Axis, values: impl Iterator<Item = f64>) -> (f64, f64) {
    if let Some([low, high]) = axis.range {
        return (placed(axis, low), placed(axis, high));
    }
    let (low, high) = values
        .map(|value| placed(axis, value))
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    match (low.is_finite(), high > low) {
        (false, _) => (0.0, 1.0),
        (true, false) => (low - 0.5, high + 0.5),
        (true, true) => (low - 0.06 * (high - low), high + 0.06 * (high - low)),
    }
}

/// The ends of a point's error bar.
fn reach(point: &Point) -> [f64; 2] {
    let error = point.error.unwrap_or(0.0);
    [point.y - error, point.y + error]
}

fn colour_of(names: &[(String, bool)], series: &Series) -> RGBColor {
    run_colour(names.iter().position(|(name, _)| *name == series.name).unwrap_or(0))
}

fn points(area: &Area<'_>, panel: &Panel, names: &[(String, bool)]) -> Outcome {
    let all = || panel.series.iter().flat_map(|series| &series.points);
    let (left, right) = ends(&panel.x, all().map(|point| point.x));
    let low_enough = |value: &f64| !panel.y.log || *value > 0.0;
    let (low, high) = ends(&panel.y, all().flat_map(reach).filter(low_enough));
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, TEXT.into_font().color(&INK))
        .margin(10)
        .margin_right(20)
        .x_label_area_size(46)
        .y_label_area_size(62)
        .build_cartesian_2d(left..right, low..high)?;
    let unscaled = |axis: &Axis, value: f64| text_of(if axis.log { value.exp2() } else { value });
    let heights = |value: &f64| unscaled(&panel.y, *value);
    let formatter = |value: &f64| unscaled(&panel.x, *value);
    let mut mesh = chart.configure_mesh();
    mesh.y_desc(&panel.y.name)
        .y_labels(6)
        .y_label_formatter(&heights)
        .label_style(SMALL.into_font().color(&INK))
        .axis_desc_style(SMALL.into_font().color(&INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT);
    if panel.x.ticks.is_empty() {
        mesh.x_desc(&panel.x.name).x_labels(6).x_label_formatter(&formatter).draw()?;
    } else {
        mesh.disable_x_mesh().x_labels(0).x_desc(&panel.x.name).draw()?;
        let (width, height) = chart.plotting_area().dim_in_pixel();
        let style = SMALL.into_font().color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
        for (value, text) in &panel.x.ticks {
            let place = (placed(&panel.x, *value) - left) / (right - left);
            if (0.0..=1.0).contains(&place) {
                let x = (place * f64::from(width)).round() as i32;
                let pixels = chart.plotting_area().strip_coord_spec();
                pixels.draw_text(text, &style, (x, height as i32 + 7))?;
                pixels.draw(&PathElement::new([(x, height as i32), (x, height as i32 + 4)], INK))?;
            }
        }
    }
    for series in &panel.series {
        let colour = colour_of(names, series);
        let place = |point: &Point, y: f64| (placed(&panel.x, point.x), placed(&panel.y, y).clamp(low, high));
        let centre = |point: &Point| place(point, point.y);
        if panel.kind == Kind::Lines && series.published {
            chart.draw_series(DashedLineSeries::new(series.points.iter().map(centre), 5, 4, colour.stroke_width(2)))?;
        } else if panel.kind == Kind::Lines {
            chart.draw_series(LineSeries::new(series.points.iter().map(centre), colour.stroke_width(2)))?;
        }
        for point in &series.points {
            if point.error.is_some() {
                let [bottom, top] = reach(point).map(|y| if low_enough(&y) { place(point, y).1 } else { low });
                let x = placed(&panel.x, point.x);
                chart.draw_series([ErrorBar::new_vertical(x, bottom, placed(&panel.y, point.y), top, colour, 7)])?;
            }
            let style = if series.published { colour.stroke_width(2) } else { colour.filled() };
            chart.draw_series([Circle::new(centre(point), if series.published { 4 } else { 3 }, style)])?;
            if let Some(label) = &point.label {
                // On the side where there is more room.
                let (x, y) = centre(point);
                let (side, shift) = if x > (left + right) / 2.0 { (HPos::Right, -8) } else { (HPos::Left, 8) };
                let style = SMALL.into_font().color(&INK).pos(Pos::new(side, VPos::Center));
                let label = EmptyElement::at((x, y)) + Text::new(label.clone(), (shift, 0), style);
                chart.draw_series([label])?;
            }
        }
    }
    Ok(())
}

fn bars(area: &Area<'_>, panel: &Panel, names: &[(String, bool)]) -> Outcome {
    let mut labels: Vec<&str> = Vec::new();
    for point in panel.series.iter().flat_map(|series| &series.points) {
        let label = point.label.as_deref().unwrap_or("");
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let lengths = || panel.series.iter().flat_map(|series| series.points.iter().flat_map(reach)).chain([0.0]);
    let (low, high) = ends(&panel.y, lengths());
    // Bars begin at 0 unless the axis does not have it.
    let (low, high) = match panel.y.range {
        Some(_) => (low, high),
        None => (if lengths().all(|length| length >= 0.0) { 0.0 } else { low }, high),
    };
    let zero = 0.0_f64.clamp(low, high);
    let room = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0) as u32;
    let count = labels.len().max(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, TEXT.into_font().color(&INK))
        .margin(10)
        .margin_right(44)
        .x_label_area_size(46)
        .y_label_area_size((20 + 8 * room).clamp(40, PANEL.0 / 2))
        .build_cartesian_2d(low..high, count..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc(&panel.y.name)
        .x_labels(6)
        .x_label_formatter(&|value| text_of(*value))
        .label_style(SMALL.into_font().color(&INK))
        .axis_desc_style(SMALL.into_font().color(&INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    let (_, height) = chart.plotting_area().dim_in_pixel();
    let slots = panel.series.len().max(1) as f64;
    for (place, label) in labels.iter().enumerate() {
        let style = SMALL.into_font().color(&INK).pos(Pos::new(HPos::Right, VPos::Center));
        let y = (f64::from(height) * (place as f64 + 0.5) / count).round() as i32;
        chart.plotting_area().strip_coord_spec().draw_text(label, &style, (-6, y))?;
    }
    for (slot, series) in panel.series.iter().enumerate() {
        let colour = colour_of(names, series);
        for point in &series.points {
            let label = point.label.as_deref().unwrap_or("");
            let Some(place) = labels.iter().position(|other| *other == label) else { continue };
            let edge = |part: f64| place as f64 + 0.1 + 0.8 * (slot as f64 + part) / slots;
            let end = point.y.clamp(low, high);
            let style = if series.published { colour.stroke_width(2) } else { colour.filled() };
            chart.draw_series([Rectangle::new([(zero, edge(0.05)), (end, edge(0.95))], style)])?;
            let [from, to] = reach(point).map(|value| value.clamp(low, high));
            if point.error.is_some() {
                chart.draw_series([PathElement::new([(from, edge(0.5)), (to, edge(0.5))], INK)])?;
            }
            let right = end.max(to);
            let style = SMALL.into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
            let number = EmptyElement::at((right, edge(0.5))) + Text::new(text_of(point.y), (4, 0), style);
            chart.draw_series([number])?;
        }
    }
    Ok(())
}

/// A number on an axis or beside a bar.
fn text_of(number: f64) -> String {
    if number != 0.0 && !(1e-3..1e5).contains(&number.abs()) { format!("{number:.0e}") } else { short(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(kind: Kind, x: Axis, y: Axis) -> Panel {
        let points = vec![
            Point { error: Some(0.2), label: Some("first".into()), ..Point::new(1.0, 0.5) },
            Point { error: None, label: Some("second".into()), ..Point::new(4.0, 0.75) },
        ];
        let series = vec![Series::new("ours", points.clone()), Series::new("theirs", points).published()];
        Panel { title: "a panel".into(), kind, x, y, series }
    }

    #[test]
    fn figures_hold_their_points_and_names() {
        let panels = vec![
            panel(Kind::Lines, Axis::layers(4), Axis::between("cosine", -0.2, 1.05)),
            panel(Kind::Scatter, Axis::log("width", &[1.0, 2.0, 4.0]), Axis::new("accuracy, %")),
            panel(Kind::Bars, Axis::default(), Axis::new("%")),
        ];
        let text = svg(&Figure::new("f", "", panels)).unwrap();
        for word in ["a panel", "ours", "theirs", "first", "cosine", "width", "0.75"] {
            assert!(text.contains(&format!("\n{word}\n")), "{word} is missing:\n{text}");
        }
        assert!(!text.contains("NaN"));
        let png = png(&text).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(info.width, 3 * 2 * PANEL.0);
        // Two colours of the series and the ink of the text are there: the fonts were found.
        let has = |colour: [u8; 3]| pixels.chunks_exact(4).any(|pixel| pixel[..3] == colour);
        let (first, second) = (run_colour(0), run_colour(1));
        assert!(has([first.0, first.1, first.2]) && has([second.0, second.1, second.2]));
        let dark = pixels.chunks_exact(4).filter(|pixel| pixel[..3].iter().all(|value| *value < 100)).count();
        assert!(dark > 4000, "{dark}");
    }

    #[test]
    fn figures_of_nothing_are_drawn_too() {
        let mut empty = panel(Kind::Lines, Axis::new("x"), Axis::new("y"));
        empty.series.clear();
        let bars = Panel { kind: Kind::Bars, ..empty.clone() };
        for panels in [vec![], vec![empty, bars]] {
            let text = svg(&Figure::new("f", "", panels)).unwrap();
            assert!(png(&text).is_ok() && !text.contains("NaN"));
        }
    }

    #[test]
    fn numbers_on_axes_are_short() {
        let texts = [0.0, 0.125, 57.04, 1200.0, -0.5, 1e-6, 2e7].map(text_of);
        assert_eq!(texts, ["0", "0.125", "57", "1200", "-0.5", "1e-6", "2e7"]);
    }
}
