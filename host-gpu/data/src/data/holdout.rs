//! Some images of each class set aside for testing.

/// Splits a class into indices of `names` for training and for testing, each in the order of the names.
///
/// The split depends only on the names and the seed, and is the same on every machine: names are sorted by a checksum
/// of seed and name, and the first `share` of them, rounded, are for training. Each side gets at least one of two or
/// more names. A single name is for training.
pub(super) fn divide(names: &[&str], share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<([u8; 16], usize)> = names.iter().enumerate().map(|(at, name)| (rank(name, seed), at)).collect();
    // Names are unique.
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| names[a.1].cmp(names[b.1])));
    let most = names.len().saturating_sub(1).max(1);
    let train = ((names.len() as f64 * share).round() as usize).clamp(1, most).min(names.len());
    let places = |part: &[([u8; 16], usize)]| {
        let mut places: Vec<usize> = part.iter().map(|(_, at)| *at).collect();
        places.sort_unstable();
        places
    };
    (places(&order[..train]), places(&order[train..]))
}

fn rank(name: &str, seed: u64) -> [u8; 16] {
    md5::compute([&seed.to_le_bytes(), name.as_bytes()].concat()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_divided_by_its_names_and_the_seed() {
        let names: Vec<String> = (0..10).map(|number| format!("cat/{number}.png")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // The same on every machine: these are the numbers that the first one gave.
        assert_eq!(divide(&names, 0.8, 2).1, [0, 8]);
        let by_name = |names: &[&str], seed| {
            let mut test: Vec<String> = divide(names, 0.7, seed).1.iter().map(|&at| names[at].to_string()).collect();
            test.sort();
            test
        };
        let mut reversed = names.clone();
        reversed.reverse();
        assert_eq!(by_name(&names, 5), by_name(&reversed, 5));
        assert_eq!(by_name(&names, 5).len(), 3);
        assert!((0..8).any(|seed| by_name(&names, seed) != by_name(&names, 5)));
        for (count, share, train) in [(1, 0.5, 1), (2, 0.99, 1), (2, 0.01, 1), (5, 0.5, 3), (10, 0.05, 1), (0, 0.5, 0)]
        {
            let (learnt, tested) = divide(&names[..count], share, 1);
            assert_eq!((learnt.len(), tested.len()), (train, count - train), "{count} {share}");
        }
    }
}
