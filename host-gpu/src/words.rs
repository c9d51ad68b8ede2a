//! Numbers with their nouns, for messages.

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
