//! Sizes and colours of pictures, in pixels of the SVG.

use super::RGBColor;

/// How a picture looks. Lengths are pixels of the SVG.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Width and height of a panel.
    pub panel: (u32, u32),
    /// Size of the letters of headings and legend.
    pub text: u32,
    /// Size of the letters of axes, points and bars.
    pub small: u32,
    /// Room around a panel.
    pub margin: u32,
    /// Room to the right of lines.
    pub right: u32,
    /// Room for the text to the left of the vertical axis.
    pub side: u32,
    /// Colour of text.
    pub ink: RGBColor,
    /// Colour of axes.
    pub axis: RGBColor,
    /// Colour of the grid.
    pub grid: RGBColor,
    /// How much of its colour the grid has, 0 to 1.
    pub grid_opacity: f64,
    /// Whether the background is white; else the page's shows through.
    pub white: bool,
    /// Whether the names of series stand below the panels.
    pub legend: bool,
}

/// A picture that stands for itself.
pub const FIGURE: Style = Style {
    panel: (460, 340),
    text: 15,
    small: 13,
    margin: 10,
    right: 20,
    side: 62,
    ink: RGBColor(40, 40, 40),
    axis: RGBColor(40, 40, 40),
    grid: RGBColor(225, 225, 225),
    grid_opacity: 1.0,
    white: true,
    legend: true,
};

/// A picture in a page that has the legend, and whose style sheet replaces the colours of text, and of axes and grid, so
/// that they suit light and dark. The page scales it to its column; it is small, so that text stays readable on a phone.
pub const PAGE: Style = Style {
    panel: (620, 350),
    text: 18,
    small: 18,
    margin: 8,
    right: 18,
    side: 66,
    ink: RGBColor(1, 1, 1),
    axis: RGBColor(2, 2, 2),
    grid: RGBColor(2, 2, 2),
    grid_opacity: 0.35,
    white: false,
    legend: false,
};
