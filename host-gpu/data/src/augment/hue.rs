//! Hue shift through Pillow's 8-bit HSV.
//!
//! Hue, saturation and value are bytes, the fractions of hue and saturation cut off; the hue byte wraps around when
//! it is shifted. Even a shift of 0 changes colours a little, as in torchvision.

use super::colour::planes;

/// Turns the hue of a colour image by `shift` of the circle (-0.5 to 0.5). Grey images stay as they are.
pub fn hue(image: &mut [u8], channels: usize, shift: f32) {
    let Some([red, green, blue]) = planes(image, channels) else { return };
    // The product's fraction is cut off, then its lowest byte is taken: -1 is 255.
    let shift = (f64::from(shift) * 255.0) as i32 as u8;
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let [hue, saturation, value] = to_hsv(*r, *g, *b);
        [*r, *g, *b] = to_rgb(hue.wrapping_add(shift), saturation, value);
    }
}

/// Hue, saturation and value in bytes. Single and double precision are mixed as in Pillow, for the same roundings.
fn to_hsv(red: u8, green: u8, blue: u8) -> [u8; 3] {
    let most = red.max(green).max(blue);
    let least = red.min(green).min(blue);
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let below = |channel: u8| f32::from(most - channel) / range;
    // Place on the circle in sixths: red 0, green 2, blue 4.
    let sixths = if red == most {
        below(blue) - below(green)
    } else if green == most {
        (2.0 + f64::from(below(red)) - f64::from(below(blue))) as f32
    } else {
        (4.0 + f64::from(below(green)) - f64::from(below(red))) as f32
    };
    // -1 to 5 sixths, plus one turn, less one turn where that is a whole one.
    let turned = f64::from(sixths) / 6.0 + 1.0;
    let turn = if turned >= 1.0 { turned - 1.0 } else { turned } as f32;
    [(f64::from(turn) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

/// Red, green and blue of a colour in byte HSV.
fn to_rgb(hue: u8, saturation: u8, value: u8) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let sixths = f64::from(hue) * 6.0 / 255.0;
    let sector = sixths.floor();
    let part = (sixths - sector) as f32;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    let full = f64::from(value);
    let low = (full * (1.0 - f64::from(saturation))).round() as u8;
    let falling = (full * (1.0 - f64::from(saturation * part))).round() as u8;
    let rising = (full * (1.0 - f64::from(saturation) * (1.0 - f64::from(part)))).round() as u8;
    match sector as u8 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}
