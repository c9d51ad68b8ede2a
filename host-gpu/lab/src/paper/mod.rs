//! The paper's figures and tables, and this project's own, each as an experiment that one command runs.
//!
//! An experiment is a function from a [`Setting`] to a [`Finding`]: plain numbers, claims and their verdicts. Its files
//! and pages are made from the finding alone. A new experiment is one file here and one line in [`EXPERIMENTS`].

mod accuracy;
pub mod alignment;
mod collapse;
mod continual;
pub mod encoder;
mod feedback;
pub mod finding;
pub mod keep;
pub mod micro;
pub mod page;
mod predictive;
pub mod ridge;
mod rules;
mod setting;
mod significance;
pub mod table;
mod theory;

pub use finding::{Claim, Finding, Verdict};
pub use setting::Setting;

use clapp_data::error::Error;

/// An experiment.
#[derive(Debug, Clone, Copy)]
pub struct Experiment {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its content, in a line.
    pub about: &'static str,
    /// `true`: it computes on the CPU, also if another backend is chosen.
    pub on_cpu: bool,
    /// Runs it. Long work shows progress through [`Setting::bar`] and ends early through [`Setting::check_stop`].
    pub run: fn(&Setting) -> Result<Finding, Error>,
}

/// All experiments, in the order of the page.
pub const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "theorem",
        about: "the theory's statements as numeric certificates",
        on_cpu: true,
        run: theory::theorem::run,
    },
    Experiment {
        name: "fig2",
        about: "the effect of each assumption of Theorem 3.1",
        on_cpu: true,
        run: theory::fig2::run,
    },
    Experiment {
        name: "fig3a",
        about: "direct feedback in networks whose layers get narrower",
        on_cpu: true,
        run: theory::fig3a::run,
    },
    Experiment {
        name: "fig3b",
        about: "local losses in a trained network with ReLUs",
        on_cpu: true,
        run: theory::fig3b::run,
    },
    Experiment {
        name: "fig4",
        about: "losses with and without 2D spatial dependence",
        on_cpu: true,
        run: theory::fig4::run,
    },
    Experiment {
        name: "fig4c",
        about: "alignment of local gradients with back-propagation, by layer",
        on_cpu: false,
        run: alignment::by_layer::run,
    },
    Experiment {
        name: "align-acc",
        about: "alignment against the probe's accuracy, over rules",
        on_cpu: false,
        run: alignment::accuracy::run,
    },
    Experiment {
        name: "rules",
        about: "all local rules and the two that back-propagate, on the same images, network and probe",
        on_cpu: false,
        run: rules::run,
    },
    Experiment {
        name: "feedback",
        about: "direct feedback, its controls, feedback alignment, weight mirror and a hybrid: accuracy and alignment",
        on_cpu: false,
        run: feedback::run,
    },
    Experiment {
        name: "predictive-coding",
        about: "predictive coding beside back-propagation: gradients, a supervised task, the self-supervised loss",
        on_cpu: false,
        run: predictive::run,
    },
    Experiment {
        name: "micro",
        about: "the smallest networks that learn: width, depth, frame, batch, storage; RAM and flash",
        on_cpu: false,
        run: micro::run,
    },
    Experiment {
        name: "collapse",
        about: "collapse alarms: how many come before accuracy is lost, and how many are false",
        on_cpu: true,
        run: collapse::run,
    },
    Experiment {
        name: "continual",
        about: "learning from streams that never come back: accuracy, forgetting, memory",
        on_cpu: false,
        run: continual::run,
    },
];
