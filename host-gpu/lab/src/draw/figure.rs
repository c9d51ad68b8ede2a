//! Figures as numbers: panels of lines, points or bars.

use plotters::style::RGBColor;
use serde::{Deserialize, Serialize};

/// A figure of one or more panels with a common legend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Name of its files.
    pub name: String,
    /// What it shows, for the page.
    pub caption: String,
    /// The panels, three in a row at most.
    pub panels: Vec<Panel>,
}

/// How a panel shows its points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Points joined by lines, from left to right.
    Lines,
    /// Points with their labels beside them.
    Scatter,
    /// Horizontal bars: a point's `y` is the length of the bar called by its label; `x` is not used. Bars of the same
    /// label stand together. Labels that the horizontal axis marks come first, in its order.
    Bars,
    /// The same, upright.
    Columns,
    /// Many points joined by lines, without dots; the vertical axis shows all but the highest 2 in 100.
    Curves,
}

/// One panel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// Heading; may be empty.
    pub title: String,
    /// How the points are shown.
    pub kind: Kind,
    /// The horizontal axis (under bars: that of their labels, whose range is not used).
    pub x: Axis,
    /// The vertical axis (under bars: that of their lengths).
    pub y: Axis,
    /// What is shown.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// What it measures, with the unit.
    pub name: String,
    /// Its ends; those of the points where there are none.
    pub range: Option<[f64; 2]>,
    /// Whether equal factors are equally far apart; all values must be above 0.
    pub log: bool,
    /// Values that are marked, with their text; chosen by the drawing where there are none.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis that fits its points.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// A linear axis between these ends.
    pub fn between(name: &str, low: f64, high: f64) -> Self {
        Self { range: Some([low, high]), ..Self::new(name) }
    }

    /// An axis of the layers 1 to `layers`.
    pub fn layers(layers: usize) -> Self {
        Self {
            range: Some([0.7, layers as f64 + 0.3]),
            ticks: (1..=layers).map(|layer| (layer as f64, layer.to_string())).collect(),
            ..Self::new("layer")
        }
    }

    /// An axis on which equal factors are equally far apart, marked at `values`.
    pub fn log(name: &str, values: &[f64]) -> Self {
        let ticks = values.iter().map(|value| (*value, value.to_string())).collect();
        Self { log: true, ticks, ..Self::new(name) }
    }
}

/// Points that belong together; the same name has the same colour in all panels of a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Whether these are published numbers, to stand beside ours: dashed and hollow.
    pub published: bool,
    /// The points.
    pub points: Vec<Point>,
    /// Its colour, if not the one of its place.
    #[serde(skip)]
    pub colour: Option<RGBColor>,
}

impl Series {
    /// Numbers of ours.
    pub fn new(name: &str, points: Vec<Point>) -> Self {
        Self { name: name.into(), published: false, points, colour: None }
    }

    /// One point a layer, from layer 1 up: means and their errors.
    pub fn by_layer(name: &str, values: &[(f64, Option<f64>)]) -> Self {
        let point = |(layer, (mean, error)): (usize, &(f64, Option<f64>))| Point {
            x: (layer + 1) as f64,
            y: *mean,
            error: *error,
            label: None,
        };
        Self::new(name, values.iter().enumerate().map(point).collect())
    }

    /// The same as published numbers.
    pub fn published(self) -> Self {
        Self { published: true, ..self }
    }
}

/// A point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Horizontal place.
    pub x: f64,
    /// Vertical place, or length of a bar.
    pub y: f64,
    /// Half the length of the error bar; the caption or the notes say what it is.
    pub error: Option<f64>,
    /// Text beside it, or the bar's name.
    pub label: Option<String>,
}

impl Point {
    /// A point without error or label.
    pub fn new(x: f64, y: f64) -> Self {
        Self { x, y, error: None, label: None }
    }

    /// A bar.
    pub fn bar(name: &str, length: f64, error: Option<f64>) -> Self {
        Self { x: 0.0, y: length, error, label: Some(name.into()) }
    }
}

impl Figure {
    /// A figure of one panel or more.
    pub fn new(name: &str, caption: &str, panels: Vec<Panel>) -> Self {
        Self { name: name.into(), caption: caption.into(), panels }
    }

    /// The place of a number that is not finite, or not above 0 on an axis of factors.
    pub fn not_finite(&self) -> Option<String> {
        let wrong = |axis: &Axis, value: f64| !value.is_finite() || (axis.log && value <= 0.0);
        self.panels.iter().find_map(|panel| {
            panel.series.iter().find_map(|series| {
                let bad = |point: &Point| {
                    wrong(&panel.x, if matches!(panel.kind, Kind::Bars | Kind::Columns) { 1.0 } else { point.x })
                        || wrong(&panel.y, point.y)
                        || point.error.is_some_and(|error| !error.is_finite())
                };
                let found = series.points.iter().position(bad)?;
                Some(format!("figure {}, series {}, point {found}", self.name, series.name))
            })
        })
    }
}
