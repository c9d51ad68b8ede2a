//! Limits of a readable set: classes without images, labels that cannot be learnt.

use super::left_out::{NAMED, some_of};
use super::{Dataset, Split};

impl Dataset {
    /// Images of each class: of `train`, and of `test`.
    pub fn counts(&self) -> [Vec<usize>; 2] {
        [&self.train, &self.test].map(|split: &Split| {
            let mut counts = vec![0; self.classes.len()];
            split.labels().iter().for_each(|&label| counts[usize::from(label)] += 1);
            counts
        })
    }

    /// Returns the limits of the set, one sentence each; empty if there are none.
    pub fn warnings(&self) -> Vec<String> {
        let [train, test] = self.counts();
        let named = |which: &dyn Fn(usize) -> bool| {
            let found: Vec<usize> = (0..self.classes.len()).filter(|&class| which(class)).collect();
            let names: Vec<String> = found.iter().take(NAMED).map(|&class| self.classes[class].clone()).collect();
            (found.len(), some_of(&names, found.len()))
        };
        let mut list = Vec::new();
        let mut say = |(count, names): (usize, String), what: &str| {
            if count > 0 {
                let classes = if count == 1 { "class" } else { "classes" };
                list.push(format!("{count} {classes} {what}: {names}"));
            }
        };
        say(named(&|class| train[class] == 0 && test[class] == 0), "without any image");
        say(
            named(&|class| train[class] == 0 && test[class] > 0),
            "with test images, but without training images (a probe cannot learn them, and gets all of them wrong)",
        );
        say(
            named(&|class| train[class] > 0 && test[class] == 0),
            "without test images (their accuracy cannot be measured)",
        );
        if train.iter().filter(|count| **count > 0).count() == 1 {
            list.push("all training images belong to one class: a probe needs at least two".into());
        }
        list
    }
}
