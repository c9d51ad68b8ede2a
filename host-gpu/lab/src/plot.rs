//! Pictures of runs: loss curves and accuracies in one SVG.

use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use plotters::prelude::*;
use plotters::style::full_palette::GREY_600;
use std::path::Path;

/// A line in the left half.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Step and loss.
    pub points: Vec<(f64, f64)>,
}

/// A bar in the right half.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Its name below it.
    pub name: String,
    /// Its height, 0 to 100.
    pub percent: f64,
}

const SIZE: (u32, u32) = (1100, 440);

/// Draws losses (left) and accuracies (right).
///
/// # Errors
/// [`Error::Plot`] where the library refuses, [`Error::File`] where the file cannot be written.
pub fn draw(path: &Path, curves: &[Curve], bars: &[Bar]) -> Result<(), Error> {
    let mut text = String::new();
    render(&mut text, curves, bars).map_err(|error| Error::Plot { path: path.into(), message: error.to_string() })?;
    write_atomically(path, text.as_bytes())
}

fn render(text: &mut String, curves: &[Curve], bars: &[Bar]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(620);
    draw_curves(&left, curves)?;
    draw_bars(&right, bars)?;
    root.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_curves(area: &Area<'_>, curves: &[Curve]) -> Result<(), Box<dyn std::error::Error>> {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let last = all().map(|point| point.0).fold(1.0, f64::max);
    // The first rows can lie far above the rest; the axis shows what comes after them.
    let mut heights: Vec<f64> = all().map(|point| point.1).collect();
    heights.sort_by(f64::total_cmp);
    let top = heights.get(heights.len() * 98 / 100).copied().unwrap_or(2.0).max(2.0) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .caption("loss of each layer", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..last, 0.0..top)?;
    chart.configure_mesh().x_desc("step").y_desc("mean loss").light_line_style(WHITE).draw()?;
    for (index, curve) in curves.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let points = curve.points.iter().map(|(x, y)| (*x, y.min(top)));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(GREY_600)
        .draw()?;
    Ok(())
}

fn draw_bars(area: &Area<'_>, bars: &[Bar]) -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<&str> = bars.iter().map(|bar| bar.name.as_str()).collect();
    let mut chart = ChartBuilder::on(area)
        .caption("linear probe on test images, %", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(40)
        .build_cartesian_2d(0.0..bars.len() as f64, 0.0..100.0)?;
    chart.configure_mesh().disable_x_mesh().disable_x_axis().light_line_style(WHITE).draw()?;
    for (index, bar) in bars.iter().enumerate() {
        let left = index as f64;
        let colour = Palette99::pick(3).filled();
        chart.draw_series([Rectangle::new([(left + 0.15, 0.0), (left + 0.85, bar.percent)], colour)])?;
        let label = format!("{} {:.1}", names.get(index).unwrap_or(&""), bar.percent);
        chart.draw_series([Text::new(label, (left + 0.15, bar.percent + 4.0), ("sans-serif", 14))])?;
    }
    Ok(())
}
