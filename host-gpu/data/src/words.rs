//! Numbers as people write them, for messages.

use std::fmt::Display;

/// A count and its noun, in the plural unless it is one: `1 image`, `0 images`, `2 classes`.
pub fn counted(count: impl Display, noun: &str) -> String {
    let count = count.to_string();
    let plural = match noun {
        _ if count == "1" => "",
        _ if ["s", "x", "tch", "sh"].iter().any(|end| noun.ends_with(end)) => "es",
        _ => "s",
    };
    format!("{count} {noun}{plural}")
}

/// Bytes as people write them.
pub fn readable(bytes: usize) -> String {
    let bytes = bytes as f64;
    match bytes {
        _ if bytes < f64::from(10 << 20) => format!("{:.1} KiB", bytes / f64::from(1 << 10)),
        _ if bytes < 10.0 * f64::from(1 << 30) => format!("{:.1} MiB", bytes / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes / f64::from(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([1, 2].map(|count| counted(count, "epoch")), ["1 epoch", "2 epochs"]);
        assert_eq!(counted(0, "test image"), "0 test images");
        assert_eq!([1, 2].map(|count| counted(count, "class")), ["1 class", "2 classes"]);
        assert_eq!([1, 2].map(|count| counted(count, "batch")), ["1 batch", "2 batches"]);
    }
}
