//! Groups of comparable accuracies: those of equal probes on the same images.

use super::run::Run;
use clapp_engine::probe::{Kind, ProbeRecord, Protocol};

/// Runs with one kind of probe, made by one protocol on one data set and one division of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Kind of probe.
    pub kind: Kind,
    /// The data set, and its division where it had to be divided.
    pub data: String,
    /// Protocol and numbers of images in words, without the seed.
    pub protocol: String,
    /// Indices of the runs, in their order.
    pub runs: Vec<usize>,
}

/// All that must be equal. A seed tells repetitions apart, not protocols.
#[derive(PartialEq)]
struct Key<'a> {
    data: [&'a str; 2],
    division: (Option<f64>, Option<u64>),
    images: [usize; 3],
    epochs: u64,
    protocol: Protocol,
}

impl Run {
    /// The outcome of its probe of that kind.
    pub fn record(&self, kind: Kind) -> Option<&ProbeRecord> {
        match kind {
            Kind::Augmented => self.probe.as_ref(),
            Kind::Cached => self.cached_probe.as_ref(),
            Kind::Quick => self.quick_probe.as_ref(),
        }
    }

    /// The protocol of a probe of it; files of earlier versions do not say, and are taken to be by the configuration.
    pub fn protocol(&self, kind: Kind, record: &ProbeRecord) -> Protocol {
        record.report.protocol.clone().unwrap_or_else(|| {
            let config = &self.config;
            let planned_epochs = record.report.epochs;
            let protocol = Protocol::new(kind, &config.probe, config.probe.test, config.seed, None);
            Protocol { planned_epochs, ..protocol }
        })
    }

    /// The protocol of a probe of it in words, without the seed.
    pub fn protocol_words(&self, kind: Kind, record: &ProbeRecord) -> String {
        let report = &record.report;
        self.protocol(kind, record).words(report.epochs, report.train_images, report.test_images)
    }

    /// `true` if the probed encoder had as many epochs as the present one.
    pub fn is_current(&self, record: &ProbeRecord) -> bool {
        self.epochs_done.is_none_or(|done| done == record.encoder_epochs)
    }
}

/// The probes of that kind, by protocol and data set, in the order of the first run of each; runs without one are in none.
pub fn groups(runs: &[Run], kind: Kind) -> Vec<Group> {
    let mut known: Vec<(Key<'_>, Group)> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let Some(record) = run.record(kind) else { continue };
        let (data, report) = (&run.info.data, &record.report);
        let key = Key {
            data: [&data.name, &record.data],
            division: (data.split, data.split_seed),
            images: [data.test_images, report.train_images, report.test_images],
            epochs: report.epochs,
            protocol: run.protocol(kind, record).without_seed(),
        };
        match known.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.runs.push(index),
            None => {
                let protocol = run.protocol_words(kind, record);
                let name = match key.division {
                    (Some(share), Some(seed)) => format!("{} (split {share} with seed {seed})", data.name),
                    _ => data.name.clone(),
                };
                known.push((key, Group { kind, data: name, protocol, runs: vec![index] }));
            }
        }
    }
    known.into_iter().map(|(_, group)| group).collect()
}

/// Groups of all kinds, with each run in one group only, that of its best kind of probe; and the runs without a probe.
pub fn ranked(runs: &[Run]) -> (Vec<Group>, Vec<usize>) {
    let mut list: Vec<Group> = Vec::new();
    let mut left: Vec<usize> = (0..runs.len()).collect();
    for kind in Kind::ALL {
        for mut group in groups(runs, kind) {
            group.runs.retain(|run| left.contains(run));
            left.retain(|run| !group.runs.contains(run));
            list.extend((!group.runs.is_empty()).then_some(group));
        }
    }
    (list, left)
}
