//! Colours of runs and layers.

use plotters::style::{Color as _, HSLColor, RGBColor};

/// The colour of the run with that index: ten that are told apart by most eyes, then darker, then lighter ones.
pub fn run_colour(index: usize) -> RGBColor {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_runs_have_thirty_colours() {
        let colours: std::collections::HashSet<String> = (0..30).map(|run| css(run_colour(run))).collect();
        assert_eq!(colours.len(), 30);
    }
}
