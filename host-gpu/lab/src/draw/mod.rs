//! Pictures: a [`Figure`] as SVG text, or as PNG by the same strokes.

mod bars;
mod colours;
mod figure;
mod points;
mod style;

pub use colours::{css, layer_colour, run_colour};
pub use figure::{Axis, Figure, Kind, Panel, Point, Series};
pub use plotters::style::RGBColor;
pub use style::{FIGURE, PAGE, Style};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use std::error::Error as AnyError;
use std::sync::Once;

/// Height of a line of the legend.
const LEGEND: u32 = 24;
/// Panels in a row.
const ROW: usize = 3;
/// How much finer a PNG is.
const SCALE: u32 = 2;
const FONT: &str = "sans-serif";

/// What a drawing gives, or why the library refuses.
pub type Outcome<T = ()> = Result<T, Box<dyn AnyError>>;
type Area<B> = DrawingArea<B, Shift>;

/// Draws a figure as SVG text.
///
/// # Errors
/// Where the library refuses.
pub fn svg(figure: &Figure, style: &Style) -> Outcome<String> {
    let layout = Layout::new(figure, style, 1);
    let mut text = String::new();
    layout.draw(&SVGBackend::with_string(&mut text, layout.size()).into_drawing_area())?;
    Ok(text)
}

/// Draws a figure as PNG, two pixels for one of the SVG.
///
/// # Errors
/// Where the library refuses.
pub fn png(figure: &Figure, style: &Style) -> Outcome<Vec<u8>> {
    let layout = Layout::new(figure, style, SCALE);
    let (width, height) = layout.size();
    let mut pixels = vec![255; (3 * width * height) as usize];
    layout.draw(&BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area())?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(bytes)
}

/// The fonts of the machine would make another picture on each.
fn load_font() {
    static ONCE: Once = Once::new();
    // A font that cannot be read is refused by whatever draws text.
    ONCE.call_once(|| drop(register_font(FONT, FontStyle::Normal, dejavu::sans::regular())));
}

/// A figure with the places of its parts.
struct Layout<'a> {
    figure: &'a Figure,
    style: &'a Style,
    /// Pixels for one of the SVG.
    scale: u32,
    names: Vec<(String, bool)>,
    columns: usize,
    rows: usize,
    /// Left edge and line of the legend's entries.
    entries: Vec<(i32, i32)>,
}

impl<'a> Layout<'a> {
    fn new(figure: &'a Figure, style: &'a Style, scale: u32) -> Self {
        load_font();
        let names = names(figure);
        let columns = figure.panels.len().clamp(1, if figure.panels.len() == 4 { 2 } else { ROW });
        let rows = figure.panels.len().div_ceil(columns).max(1);
        // One series needs no legend.
        let entries = if style.legend && names.len() > 1 {
            places(&names, style.panel.0 as i32 * columns as i32)
        } else {
            Vec::new()
        };
        Self { figure, style, scale, names, columns, rows, entries }
    }

    /// Pixels of the picture for pixels of the SVG.
    fn px(&self, length: u32) -> u32 {
        length * self.scale
    }

    fn at(&self, length: i32) -> i32 {
        length * self.scale as i32
    }

    fn size(&self) -> (u32, u32) {
        let lines = self.entries.last().map_or(0, |entry| entry.1 as u32 + 1);
        let legend = if self.style.legend { LEGEND * lines + 8 } else { 0 };
        let (width, height) = self.style.panel;
        (self.px(width * self.columns as u32), self.px(height * self.rows as u32 + legend))
    }

    fn draw<B: DrawingBackend<ErrorType: 'static>>(&self, root: &Area<B>) -> Outcome {
        if self.style.white {
            root.fill(&WHITE)?;
        }
        let (above, below) = root.split_vertically(self.px(self.style.panel.1 * self.rows as u32));
        for (area, panel) in above.split_evenly((self.rows, self.columns)).iter().zip(&self.figure.panels) {
            match panel.kind {
                Kind::Bars | Kind::Columns => self.bars(area, panel)?,
                Kind::Lines | Kind::Curves | Kind::Scatter => self.points(area, panel)?,
            }
        }
        self.legend(&below)?;
        root.present()?;
        Ok(())
    }

    fn legend<B: DrawingBackend<ErrorType: 'static>>(&self, area: &Area<B>) -> Outcome {
        for (index, ((name, published), (x, line))) in self.names.iter().zip(&self.entries).enumerate() {
            let (colour, y) = (run_colour(index), self.at(line * LEGEND as i32 + 12));
            let (left, middle) = (self.at(*x), self.at(x + 12));
            if *published {
                area.draw(&Circle::new((middle, y), self.px(4), self.stroke(colour)))?;
            } else {
                area.draw(&PathElement::new([(left, y), (self.at(x + 24), y)], self.stroke(colour)))?;
                area.draw(&Circle::new((middle, y), self.px(3), colour.filled()))?;
            }
            let style = self.font(self.style.text).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw_text(name, &style, (self.at(x + 30), y))?;
        }
        Ok(())
    }

    /// Text of that size.
    fn font(&self, size: u32) -> TextStyle<'static> {
        (FONT, self.px(size)).into_font().color(&self.style.ink)
    }

    /// The font of axes and points, placed so.
    fn placed_font(&self, side: HPos, vertical: VPos) -> TextStyle<'static> {
        self.font(self.style.small).pos(Pos::new(side, vertical))
    }

    fn stroke(&self, colour: RGBColor) -> ShapeStyle {
        colour.stroke_width(self.px(2))
    }

    fn thin(&self, colour: RGBColor) -> ShapeStyle {
        colour.stroke_width(self.scale)
    }

    fn grid(&self) -> ShapeStyle {
        self.style.grid.mix(self.style.grid_opacity).stroke_width(self.scale)
    }

    fn colour_of(&self, series: &Series) -> RGBColor {
        let place = || self.names.iter().position(|(name, _)| *name == series.name).unwrap_or(0);
        series.colour.unwrap_or_else(|| run_colour(place()))
    }
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

/// A number on an axis or beside a bar.
fn text_of(number: f64) -> String {
    if number != 0.0 && !(1e-3..1e5).contains(&number.abs()) { format!("{number:.0e}") } else { short(number) }
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
        let figure = Figure::new("f", "", panels);
        let text = svg(&figure, &FIGURE).unwrap();
        for word in ["a panel", "ours", "theirs", "first", "cosine", "width", "0.75"] {
            assert!(text.contains(&format!("\n{word}\n")), "{word} is missing:\n{text}");
        }
        assert!(!text.contains("NaN"));
        let png = png(&figure, &FIGURE).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(info.width, 3 * 2 * FIGURE.panel.0);
        // Two colours of the series and the ink of the text are there: the fonts were found.
        let has = |colour: [u8; 3]| pixels.chunks_exact(3).any(|pixel| pixel == colour);
        let (first, second) = (run_colour(0), run_colour(1));
        assert!(has([first.0, first.1, first.2]) && has([second.0, second.1, second.2]));
        let dark = pixels.chunks_exact(3).filter(|pixel| pixel.iter().all(|value| *value < 100)).count();
        assert!(dark > 4000, "{dark}");
    }

    #[test]
    fn charts_of_a_page_hold_what_they_are_given_and_nothing_for_nothing() {
        let line = |points: &[(f64, f64)]| {
            let points = points.iter().map(|(x, y)| Point::new(*x, *y)).collect();
            Series { colour: Some(run_colour(3)), ..Series::new("", points) }
        };
        let chart = |kind, x: Axis, series| {
            let panel = Panel { title: String::new(), kind, x, y: Axis::new("loss"), series };
            svg(&Figure::new("f", "", vec![panel]), &PAGE).unwrap()
        };
        let curves = |series| chart(Kind::Curves, Axis::new("step"), series);
        let text = curves(vec![line(&[(0.0, 2.0), (10.0, 1.0), (20.0, 1.5)]), line(&[(5.0, 1.2)])]);
        assert_eq!(text.matches("<polyline fill=\"none\" opacity=\"1\" stroke=\"#D64550\"").count(), 1, "{text}");
        assert_eq!(text.matches("<circle").count(), 1, "{text}");
        for points in [&[][..], &[(0.0, 0.0)], &[(3.0, 2.0), (4.0, 2.0)], &[(1.0, -3.0), (2.0, -2.0)]] {
            let text = curves(vec![line(points)]);
            assert!(text.starts_with("<svg") && !text.contains("NaN"), "{text}");
        }
        let places = Axis { ticks: ["0", "1", "all"].map(|name| (0.0, name.into())).to_vec(), ..Axis::default() };
        let bars = vec![Point::bar("0", 50.0, None), Point::bar("all", 25.0, None)];
        let text = chart(Kind::Columns, places, vec![Series::new("", bars)]);
        assert_eq!(text.matches("fill=\"#4269D0\"").count(), 2, "{text}");
        for word in ["0", "1", "all", "50", "25"] {
            assert!(text.contains(&format!("\n{word}\n")), "{word} is missing:\n{text}");
        }
    }

    #[test]
    fn figures_of_nothing_are_drawn_too() {
        let mut empty = panel(Kind::Lines, Axis::new("x"), Axis::new("y"));
        empty.series.clear();
        let of = |kind| Panel { kind, ..empty.clone() };
        for panels in [vec![], [Kind::Bars, Kind::Columns, Kind::Curves, Kind::Scatter, Kind::Lines].map(of).to_vec()] {
            let figure = Figure::new("f", "", panels);
            let text = svg(&figure, &FIGURE).unwrap();
            assert!(png(&figure, &FIGURE).is_ok() && !text.contains("NaN"));
        }
    }

    #[test]
    fn numbers_on_axes_are_short() {
        let texts = [0.0, 0.125, 57.04, 1200.0, -0.5, 1e-6, 2e7].map(text_of);
        assert_eq!(texts, ["0", "0.125", "57", "1200", "-0.5", "1e-6", "2e7"]);
        let list = [0.0, 1.0, 2.5, 0.125, 57.04, 57.44, 1200.0, -0.5];
        assert_eq!(list.map(short), ["0", "1", "2.5", "0.125", "57", "57.4", "1200", "-0.5"]);
    }
}
