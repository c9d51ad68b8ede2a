//! `clapp recommend`: lists networks that fit a microcontroller, from the measurements of `clapp paper micro`.

use super::output::say;
use super::output_files::{Force, Guard, Mark, OutputFile, WRITTEN};
use clap::Args;
use clapp_core::shape::Shape;
use clapp_data::data::{Dataset, generated};
use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use clapp_data::words::{counted, readable};
use clapp_lab::recommend::{Candidate, Gain, Learns, MEASURED, Ranking, Row, Wanted, ranked, rows};

/// Largest number of bytes, and of pixels along a side of a frame. Both are far above any microcontroller.
const MOST_BYTES: usize = 1 << 32;
const MOST_SIDE: usize = 1024;
/// Largest number of classes of a read-out, because a label is one byte on the device.
const MOST_CLASSES: i64 = 256;

/// Arguments of `clapp recommend`.
#[derive(Debug, Args)]
pub struct RecommendArguments {
    /// RAM of the microcontroller, with the stack, in bytes; k, M and G (powers of 1024) are allowed: 131072, 128k,
    /// 1.5M. At most 4G.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    ram: usize,
    /// Flash of the microcontroller. It must hold the firmware and two checkpoint slots.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    flash: usize,
    /// Number of classes of the read-out.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(2..=MOST_CLASSES))]
    classes: i64,
    /// Shape of a frame, CHANNELSxHEIGHTxWIDTH.
    #[arg(long, value_name = "CxHxW", value_parser = shape)]
    input: Shape,
    /// Where the network learns: on the device, or on the host before deployment.
    #[arg(long, value_enum, default_value = "device")]
    learns: Learns,
    /// File for the configuration of the first network, for `clapp train --config`.
    #[arg(long, value_name = "FILE")]
    out: Option<OutputFile>,
    #[command(flatten)]
    force: Force,
}

/// A number of bytes.
fn size(text: &str) -> Result<usize, String> {
    let expected = || "expected bytes from 1 to 4G, such as 131072, 128k, 128KiB, 1.5M or 1G".to_owned();
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.get(number.len()..).unwrap_or_default().trim() {
        "" | "B" => 1,
        "k" | "K" | "kB" | "KB" | "KiB" => 1_u64 << 10,
        "m" | "M" | "MB" | "MiB" => 1 << 20,
        "g" | "G" | "GB" | "GiB" => 1 << 30,
        _ => return Err(expected()),
    };
    let plain =
        number.starts_with(|c: char| c.is_ascii_digit()) && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let bytes = number.parse::<f64>().ok().filter(|_| plain).map(|count| count * unit as f64);
    match bytes.filter(|bytes| (1.0..=MOST_BYTES as f64).contains(bytes)) {
        None => Err(expected()),
        Some(bytes) if bytes.fract() != 0.0 => Err(format!("is {bytes} bytes, expected a whole number of them")),
        Some(bytes) => Ok(bytes as usize),
    }
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

/// Comment above the configuration of a network that learns on its device.
const UNTRAINED: &str = "# epochs = 0: this network learns on its device, from the stream. `clapp train` with this file writes the\n\
                         # untrained encoder for `clapp export`; with --epochs N it would train the encoder on batches.\n";

/// Runs `clapp recommend`.
///
/// # Errors
/// If no network fits (the error names the closest one), the stored results cannot be read, or the output cannot be
/// written.
pub fn run(arguments: &RecommendArguments) -> Result<u8, Error> {
    let RecommendArguments { ram, flash, input, learns, .. } = *arguments;
    let out = arguments.out.as_ref();
    let out = out.map(|path| path.check("--out", Mark::CONFIG, &Guard::new(arguments.force))).transpose()?;
    let classes = usize::try_from(arguments.classes).unwrap_or(2);
    let wanted = Wanted { ram, flash, classes, input, learns };
    let measured = rows(MEASURED)?;
    let ranking = ranked(&wanted, &measured)?;
    let frame = format!("{}x{}x{}", input.channels, input.height, input.width);
    let room = format!("{} of RAM, {} of flash, {classes} classes, frames of {frame}", readable(ram), readable(flash));
    let Some(best) = ranking.equal.first() else {
        return Err(nothing_fits(&ranking, &wanted, &room, &frame));
    };
    // A user's images get stronger augmentation than the generated ones.
    let images = Dataset { name: "images".into(), ..generated::shapes(0, 2, 2) };
    let config = best.config(&images)?;
    if let (None, Some(_)) = (&config, out) {
        let message = format!("`clapp train` takes square frames only: no configuration for frames of {frame}");
        return Err(Error::Config { origin: "--out".into(), message });
    }
    let learnt = match learns {
        Learns::Device => "learnt on the device, from its stream",
        Learns::Host => "learnt on the host, by batches of 32; the device infers",
    };
    say(format!("networks for {room}, {learnt}\n\n{}", table(&ranking.equal)))?;
    if ranking.equal.len() > 1 {
        say(format!(
            "\nthese {} are equally good: their accuracies differ by at most two standard errors, {:.1} points; the smallest is \
             first",
            ranking.equal.len(),
            ranking.tolerance
        ))?;
    }
    if !ranking.lesser.is_empty() {
        say(format!("\nless accurate:\n{}", table(&ranking.lesser)))?;
    }
    if !ranking.too_large.is_empty() {
        say(format!("\ntoo large:\n{}", table(&ranking.too_large)))?;
    }
    say(notes(best, &wanted))?;
    let code = best.rust();
    say(format!("\nthe first of these for clapp-core:\n\n```rust\n{code}```"))?;
    let Row { learnt_from, epochs, .. } = best.nearest;
    match config {
        Some(config) => {
            let what = match learns {
                Learns::Device => {
                    "the untrained network, from which the device starts (training it first on the host, on batches, was not \
                     measured)"
                        .to_owned()
                }
                Learns::Host => format!("measured on {learnt_from} images for {}; `--images` sets the number of images", counted(epochs, "epoch")),
            };
            let text = match learns {
                Learns::Device => format!("{UNTRAINED}{}", config.to_toml()?),
                Learns::Host => config.to_toml()?,
            };
            say(format!("\nand for `clapp train --config FILE`, {what}:\n\n```toml\n{text}```"))?;
            if let Some(path) = out {
                write_atomically(path, format!("{WRITTEN} recommend`.\n{text}").as_bytes())?;
                say(format!("\nwrote {}", path.display()))?;
            }
        }
        None => say("\n`clapp train` takes square frames only: no configuration for these")?,
    }
    Ok(0)
}

fn table(candidates: &[Candidate]) -> String {
    let mut lines = vec![format!(
        "{:>8} {:>6} {:>12} {:>13} {:>12} {:>20} {:>14} {:>14}  {:<14} measured",
        "channels",
        "layers",
        "RAM learning",
        "RAM inference",
        "flash",
        "instructions a frame",
        "accuracy, %",
        "gain, points",
        ""
    )];
    for Candidate { nearest, plan, .. } in candidates {
        let Row { channels, depth, input, trained, gain, images, seeds, test_images, .. } = nearest;
        let verdict = match nearest.verdict() {
            Gain::Shown => "gain shown",
            Gain::NotShown => "no gain shown",
            Gain::Loss => "learning loses",
        };
        lines.push(format!(
            "{channels:>8} {depth:>6} {:>12} {:>13} {:>12} {:>20} {:>14} {:>14}  {verdict:<14} grey {input}x{input} of {images}, \
             {seeds} seeds, {test_images} test images",
            readable(plan.ram),
            readable(plan.inference_ram),
            readable(plan.flash),
            format!("about {:.2} million", plan.instructions as f64 / 1e6),
            format!("{:.1} ± {:.1}", trained.value, trained.error),
            format!("{:+.1} ± {:.1}", gain.value, gain.error),
        ));
    }
    lines.join("\n")
}

/// Returns the explanation of the table.
fn notes(best: &Candidate, wanted: &Wanted) -> String {
    let Row { input, learnt_from, epochs, .. } = best.nearest;
    let ram = match wanted.learns {
        Learns::Device => "RAM learning must fit",
        Learns::Host => {
            "RAM inference must fit: the RAM of your own program that only infers, with its weights in flash; \
             this project's firmware can learn and needs RAM learning"
        }
    };
    let mut text = format!(
        "\n{ram}. RAM: the firmware with the network, a frame, the read-out and the stack; flash: the firmware and two slots \
         for what was learnt. Accuracy of a linear read-out of ten classes after learning from {learnt_from} images, {epochs} \
         epochs, and its gain over the untrained network, each with its standard error, are those that were measured, with \
         frames of the size that is nearest among those that all networks were measured at; on other images they are \
         other numbers."
    );
    let nearest = best.nearer.as_ref().map_or(input, |row| row.input);
    if (wanted.input.channels, wanted.input.height, wanted.input.width) != (1, nearest, nearest) {
        text += " No frames of the shape asked for were measured.";
    }
    if let Some(Row { input, trained, gain, .. }) = &best.nearer {
        text += &format!(
            " With frames of {input}x{input} the first reached {:.1} ± {:.1} %, a gain of {:+.1} ± {:.1} points.",
            trained.value, trained.error, gain.value, gain.error
        );
    }
    match best.nearest.verdict() {
        Gain::Shown => {}
        Gain::NotShown => {
            text += " The gain of the first is within its error: there, its untrained features were as good.";
        }
        Gain::Loss => text += " Learning made the features of the first worse: it does better untrained.",
    }
    text
}

/// Returns the error that no network fits, with the closest network and all others.
fn nothing_fits(ranking: &Ranking, wanted: &Wanted, room: &str, frame: &str) -> Error {
    let refused = |message: String| Error::Config { origin: "recommend".into(), message };
    let Some(best @ Candidate { plan, nearest, .. }) = ranking.too_large.first() else {
        return refused(format!(
            "no network fits: frames of {frame} are too small for the measured layers; expected at least 1x8x8"
        ));
    };
    let missing = ["RAM", "flash"].into_iter().zip(best.missing(wanted)).filter(|(_, bytes)| *bytes > 0);
    let missing: Vec<String> = missing.map(|(name, bytes)| format!("{} more of {name}", readable(bytes))).collect();
    refused(format!(
        "no network fits into {room}; the closest, {} and {}, needs {} ({} of RAM and {} of flash in all)\n\nall measured networks:\n{}",
        counted(nearest.channels, "channel"),
        counted(nearest.depth, "layer"),
        missing.join(" and "),
        readable(wanted.learns.ram(plan)),
        readable(plan.flash),
        table(&ranking.too_large)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_shapes_are_read_or_refused() {
        let good = [
            ("131072", 131_072),
            ("128k", 131_072),
            ("128K", 131_072),
            ("128KiB", 131_072),
            ("1M", 1 << 20),
            ("1.5M", 3 << 19),
            ("0.5k", 512),
            ("2G", 1 << 31),
            ("4G", 1 << 32),
            ("4096M", 1 << 32),
        ];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "k",
            "128q",
            "-1",
            "0",
            "99999999999999999999M",
            "128 kk",
            "5000M",
            "4.1G",
            "1e3",
            "inf",
            "NaN",
            ".5k",
            "1.2.3k",
        ] {
            assert!(size(text).is_err_and(|message| message.contains("from 1 to 4G")), "{text}");
        }
        assert!(size("1.3k").is_err_and(|message| message.contains("whole number")));
        assert_eq!(shape("3x24x32"), Ok(Shape::new(3, 24, 32)));
        for text in
            ["", "32", "32x32", "2x32x32", "1x0x32", "1x32x32x1", "1xax32", "1x-3x32", "1x32x9999", "1x32xa32x3"]
        {
            assert!(shape(text).is_err(), "{text}");
        }
    }
}
