//! The house: crates, their rooms, and who may import whom.

/// A crate of the house, today or to be.
pub struct Crate {
    /// Its name in the import rule.
    pub name: &'static str,
    /// The crates that it may import, besides itself.
    pub uses: &'static [&'static str],
    /// Its folder in the repository, and its package. A crate whose folder is not there yet has its rooms in
    /// [`House::program`].
    pub folder: &'static str,
    /// The package in that folder.
    pub package: &'static str,
    /// Its rooms, the top-level modules, lowest first: a room imports only rooms that stand before it, so that no two
    /// rooms import each other and there is no circle. `*` means that the crate is one room.
    pub rooms: &'static [&'static str],
}

/// All crates, and the libraries that one crate alone may name.
pub struct House {
    /// Lowest first.
    pub crates: &'static [Crate],
    /// The crate that has the rooms of those that are not there yet.
    pub program: &'static str,
    /// Libraries, and the only crate that may name them.
    pub libraries: &'static [(&'static str, &'static str)],
}

/// The import rule of ARCHITECTURE.md.
pub const HOUSE: House = House {
    crates: &[
        Crate { name: "core", uses: &[], folder: "core", package: "clapp-core", rooms: &["*"] },
        Crate {
            name: "data",
            uses: &["core"],
            folder: "host-gpu/data",
            package: "clapp-data",
            rooms: &["words", "error", "rng", "console", "files", "npy", "tensor_file", "augment", "data", "loader"],
        },
        Crate {
            name: "engine",
            uses: &["core", "data"],
            folder: "host-gpu/engine",
            package: "clapp-engine",
            rooms: &[
                "matmul",
                "optimizer",
                "schedule",
                "model",
                "backend",
                "step",
                "rules",
                "config",
                "core_memory",
                "work",
                "draws",
                "memory",
                "distributed",
                "trainer",
                "metrics",
                "events",
                "checkpoint",
                "alignment",
                "probe",
                "golden",
                "parity",
                "run_info",
                "run",
                "progress",
                "sweep",
            ],
        },
        Crate {
            name: "gpu",
            uses: &["core", "data", "engine"],
            folder: "host-gpu/gpu",
            package: "clapp-gpu",
            rooms: &["*"],
        },
        Crate {
            name: "device",
            uses: &["core", "data", "engine"],
            folder: "host-gpu/device",
            package: "clapp-device",
            rooms: &["flash_image", "device_plan", "device"],
        },
        Crate {
            name: "lab",
            uses: &["core", "data", "engine", "gpu", "device"],
            folder: "host-gpu/lab",
            package: "clapp-lab",
            rooms: &["draw", "theory", "continual", "report", "paper", "recommend"],
        },
        Crate {
            name: "program",
            uses: &["core", "data", "engine", "gpu", "device", "lab"],
            folder: "host-gpu",
            package: "clapp-host-gpu",
            rooms: &["cli"],
        },
        Crate { name: "firmware", uses: &["core"], folder: "firmware", package: "clapp-firmware", rooms: &["*"] },
    ],
    program: "program",
    libraries: &[
        ("cudarc", "gpu"),
        ("argmin", "lab"),
        ("maud", "lab"),
        ("nalgebra", "lab"),
        ("plotters", "lab"),
        ("statrs", "lab"),
    ],
};

impl House {
    /// The crate of this name.
    pub fn crate_of(&self, name: &str) -> Option<&Crate> {
        self.crates.iter().find(|each| each.name == name)
    }

    /// The crate whose package has this name, written as a package or as a path writes it.
    pub fn package(&self, name: &str) -> Option<&Crate> {
        self.crates.iter().find(|each| each.package.replace('-', "_") == name.replace('-', "_"))
    }
}
