//! `clapp recommend`: networks that fit a microcontroller, from what `clapp paper micro` has measured.

use super::output::say;
use crate::data::{Dataset, generated};
use crate::error::Error;
use crate::memory::readable;
use crate::recommend::{Candidate, Learns, MEASURED, Row, Wanted, ranked, rows};
use clap::Args;
use clapp_core::shape::Shape;

/// Most bytes, and most pixels of a side of a frame: far above any microcontroller.
const MOST_BYTES: usize = 1 << 32;
const MOST_SIDE: usize = 1024;
/// Most classes of a read-out, as a label is a byte on the device.
const MOST_CLASSES: i64 = 256;

/// Arguments of `clapp recommend`.
#[derive(Debug, Args)]
pub struct RecommendArguments {
    /// RAM of the microcontroller, stack included: bytes, or with k, KiB, M or MiB.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    ram: usize,
    /// Flash of the microcontroller: the firmware with two slots for what was learnt must fit.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    flash: usize,
    /// Classes that the read-out tells apart.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(2..=MOST_CLASSES))]
    classes: i64,
    /// Shape of a frame, CHANNELSxHEIGHTxWIDTH.
    #[arg(long, value_name = "CxHxW", value_parser = shape)]
    input: Shape,
    /// Where the network learns before it is of use.
    #[arg(long, value_enum, default_value = "device")]
    learns: Learns,
}

/// A number of bytes.
fn size(text: &str) -> Result<usize, String> {
    let expected = || "expected bytes, such as 131072, 128k, 128KiB or 1M".to_owned();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.get(digits.len()..).unwrap_or_default().trim() {
        "" | "B" => 1,
        "k" | "K" | "kB" | "KB" | "KiB" => 1 << 10,
        "m" | "M" | "MB" | "MiB" => 1 << 20,
        _ => return Err(expected()),
    };
    let bytes = digits.parse::<usize>().ok().and_then(|count| count.checked_mul(unit));
    bytes.filter(|bytes| (1..=MOST_BYTES).contains(bytes)).ok_or_else(expected)
}

/// A shape of frames.
fn shape(text: &str) -> Result<Shape, String> {
    let parts: Vec<usize> = text.split('x').filter_map(|part| part.parse().ok()).collect();
    match (parts.as_slice(), text.split('x').count()) {
        ([channels @ (1 | 3), height, width], 3)
            if (1..=MOST_SIDE).contains(height) && (1..=MOST_SIDE).contains(width) =>
        {
            Ok(Shape::new(*channels, *height, *width))
        }
        _ => Err(format!(
            "expected CHANNELSxHEIGHTxWIDTH with 1 or 3 channels and sides of 1 to {MOST_SIDE}, such as 1x32x32"
        )),
    }
}

/// Runs `clapp recommend`: exit code 0, or 1 where nothing fits.
///
/// # Errors
/// Where the kept results cannot be read or the output cannot be written.
pub fn run(arguments: &RecommendArguments) -> Result<u8, Error> {
    let RecommendArguments { ram, flash, input, learns, .. } = *arguments;
    let classes = usize::try_from(arguments.classes).unwrap_or(2);
    let wanted = Wanted { ram, flash, classes, input, learns };
    let measured = rows(MEASURED)?;
    let candidates = ranked(&wanted, &measured)?;
    let frame = format!("{}x{}x{}", input.channels, input.height, input.width);
    if candidates.is_empty() {
        say(format!(
            "nothing fits: frames of {frame} are too small for the layers that were measured; at least 1x8x8"
        ))?;
        return Ok(1);
    }
    let (fit, rest): (Vec<&Candidate>, Vec<&Candidate>) =
        candidates.iter().partition(|candidate| candidate.fits(&wanted));
    let room = format!("{} of RAM, {} of flash, {classes} classes, frames of {frame}", readable(ram), readable(flash));
    let Some(best) = fit.first() else {
        say(format!("nothing fits into {room}\n\nwhat would:\n{}", table(&rest)))?;
        say(nothing(&rest, &wanted))?;
        return Ok(1);
    };
    let learnt = match learns {
        Learns::Device => "on the device, from its stream",
        Learns::Host => "on the host, by batches of 32; the device carries them",
    };
    say(format!("networks for {room}, learnt {learnt}\n\n{}", table(&fit)))?;
    say(notes(best, &wanted))?;
    if !rest.is_empty() {
        say(format!("\ntoo large:\n{}", table(&rest)))?;
    }
    say(format!("\nthe first of these for clapp-core:\n\n```rust\n{}```", best.rust()))?;
    // Images of a user's are augmented more strongly than the generated ones.
    let images = Dataset { name: "images".into(), ..generated::shapes(0, 2, 2) };
    match best.config(&images)? {
        Some(config) => {
            let what = match learns {
                Learns::Device => {
                    "to train it first, on the host by batches (not what the table has measured: that is the stream)"
                }
                Learns::Host => "to train it",
            };
            say(format!("\nand for `clapp train --config FILE`, {what}:\n\n```toml\n{}```", config.to_toml()?))?;
        }
        None => say("\n`clapp train` takes square frames only: no configuration for these")?,
    }
    Ok(0)
}

fn table(candidates: &[&Candidate]) -> String {
    let mut lines = vec![format!(
        "{:>8} {:>6} {:>12} {:>12} {:>20} {:>9} {:>14}  measured with",
        "channels", "layers", "RAM", "flash", "instructions a frame", "accuracy", "gain, points"
    )];
    for Candidate { nearest, plan, .. } in candidates {
        let Row { channels, depth, input, trained, gain, error, images, .. } = nearest;
        lines.push(format!(
            "{channels:>8} {depth:>6} {:>12} {:>12} {:>20} {:>7.1} % {:>14}  grey {input}x{input} of {images}",
            readable(plan.ram),
            readable(plan.flash),
            format!("about {:.2} million", plan.instructions as f64 / 1e6),
            trained,
            format!("{gain:+.1} ± {error:.1}"),
        ));
    }
    lines.join("\n")
}

/// What the numbers are.
fn notes(best: &Candidate, wanted: &Wanted) -> String {
    let Row { gain, error, input, .. } = best.nearest;
    let mut text = String::from(
        "\nRAM: the firmware with the network, a frame, the read-out and the stack; flash: the firmware and two slots for \
         what was learnt. Accuracy of a linear read-out of ten classes, and its gain over the untrained network, are those \
         of the nearest configuration that was measured; on other images they are other numbers.",
    );
    if (wanted.input.channels, wanted.input.height, wanted.input.width) != (1, input, input) {
        text += " No frames of the shape asked for were measured.";
    }
    if gain <= 2.0 * error {
        text += " The gain of the first is within its error: there, its untrained features were as good.";
    }
    text
}

/// What would have to change.
fn nothing(candidates: &[&Candidate], wanted: &Wanted) -> String {
    let smallest = candidates.iter().min_by_key(|candidate| candidate.plan.ram);
    smallest.map_or_else(String::new, |Candidate { plan, nearest, .. }| {
        let mut missing = Vec::new();
        for (name, needs, has) in [("RAM", plan.ram, wanted.ram), ("flash", plan.flash, wanted.flash)] {
            if needs > has {
                missing.push(format!("{} more of {name}", readable(needs - has)));
            }
        }
        format!(
            "\nthe smallest, {} channels and {} layers, wants {}; smaller frames want less",
            nearest.channels,
            nearest.depth,
            missing.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_shapes_are_read_or_refused() {
        let good = [("131072", 131_072), ("128k", 131_072), ("128K", 131_072), ("128KiB", 131_072), ("1M", 1 << 20)];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "128q", "-1", "0", "1.5M", "99999999999999999999M", "128 kk", "5000M"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(shape("3x24x32"), Ok(Shape::new(3, 24, 32)));
        for text in
            ["", "32", "32x32", "2x32x32", "1x0x32", "1x32x32x1", "1xax32", "1x-3x32", "1x32x9999", "1x32xa32x3"]
        {
            assert!(shape(text).is_err(), "{text}");
        }
    }
}
