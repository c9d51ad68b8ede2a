//! Each kind of import against the rule is found in small sources, and nothing else is.

use super::house::{Crate, House};
use super::source::sources;
use super::{HOUSE, against_the_rule, compare, root};
use std::collections::BTreeMap;

const SMALL: House = House {
    crates: &[
        Crate { name: "core", uses: &[], folder: "core", package: "clapp-core", rooms: &["*"] },
        Crate {
            name: "data",
            uses: &["core"],
            folder: "host-gpu/data",
            package: "clapp-data",
            rooms: &["files", "loader"],
        },
        Crate {
            name: "engine",
            uses: &["core", "data"],
            folder: "host-gpu/engine",
            package: "clapp-engine",
            rooms: &["backend", "rules", "run"],
        },
        Crate {
            name: "gpu",
            uses: &["core", "data", "engine"],
            folder: "host-gpu/gpu",
            package: "clapp-gpu",
            rooms: &["backend::gpu"],
        },
        Crate {
            name: "program",
            uses: &["core", "data", "engine", "gpu"],
            folder: "host-gpu",
            package: "clapp-host-gpu",
            rooms: &["cli"],
        },
        Crate { name: "firmware", uses: &["core"], folder: "firmware", package: "clapp-firmware", rooms: &["*"] },
    ],
    program: "program",
    libraries: &[("cudarc", "gpu")],
};

/// A repository that keeps to the rule.
fn sound() -> BTreeMap<String, String> {
    let manifest = |package: &str, rest: &str| format!("[package]\nname = \"{package}\"\n{rest}");
    [
        ("Cargo.toml", "[workspace]\nmembers = [\"core\", \"host-gpu\", \"firmware\"]\n".into()),
        ("core/Cargo.toml", manifest("clapp-core", "")),
        ("firmware/Cargo.toml", manifest("clapp-firmware", "[dependencies]\nclapp-core.workspace = true\n")),
        (
            "host-gpu/Cargo.toml",
            manifest(
                "clapp-host-gpu",
                "[dependencies]\nclapp-core.workspace = true\ncudarc = \"0\"\n[dev-dependencies]\nclapp-firmware = \"0\"\n",
            ),
        ),
        (
            "host-gpu/src/lib.rs",
            "pub mod backend; pub mod cli; pub mod files; pub mod loader; pub mod rules; pub mod run;".into(),
        ),
        ("host-gpu/src/main.rs", "use clapp_host_gpu::cli;\nfn main() { cli::main() }".into()),
        ("host-gpu/src/files.rs", "use clapp_core::plan::Layer;".into()),
        ("host-gpu/src/loader.rs", "use crate::files::read;\nuse std::fmt;".into()),
        ("host-gpu/src/backend/mod.rs", "pub mod cpu; pub mod gpu; pub trait Backend {}".into()),
        ("host-gpu/src/backend/cpu.rs", "use super::Backend;".into()),
        ("host-gpu/src/backend/gpu.rs", "use super::Backend;\nuse cudarc::driver::sys;\nuse crate::run::Run;".into()),
        ("host-gpu/src/rules/mod.rs", "mod one;\nuse self::one::One;\nuse crate::backend::{Backend, cpu::Cpu};".into()),
        ("host-gpu/src/rules/one.rs", "pub struct One; fn f() { crate::loader::pairs() }".into()),
        ("host-gpu/src/run.rs", "use crate::rules;\nfn f() { rules::One }".into()),
        ("host-gpu/src/cli.rs", "use crate::backend::gpu::Gpu;\nuse crate::run;".into()),
    ]
    .into_iter()
    .map(|(file, text): (&str, String)| (file.to_string(), text))
    .collect()
}

/// What is found once some files of the sound repository have another text, or text behind their own.
fn found(changes: &[(&str, &str)]) -> Result<BTreeMap<String, String>, String> {
    let mut files = sound();
    for (file, text) in changes {
        let file = files.entry(file.to_string()).or_default();
        *file = format!("{file}\n{text}");
    }
    against_the_rule(&SMALL, &|file| files.get(file).cloned())
}

/// The only edge, and what is said of it.
fn only(changes: &[(&str, &str)]) -> (String, String) {
    let found = found(changes).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

#[test]
fn a_sound_repository_passes() {
    assert_eq!(found(&[]), Ok(BTreeMap::new()));
}

#[test]
fn an_upward_import_is_found_with_file_line_and_name() {
    let (edge, text) = only(&[("host-gpu/src/loader.rs", "\nuse crate::{run::Run as Other};")]);
    assert_eq!(edge, "loader -> run");
    assert!(text.contains("upward: loader is of crate data, run of crate engine"), "{text}");
    assert!(text.contains("host-gpu/src/loader.rs:4: crate::run::Run"), "{text}");
}

#[test]
fn every_way_to_write_a_path_is_seen() {
    for text in [
        "fn f() { crate::backend::gpu::open() }",
        "fn f() -> Vec<crate::backend::gpu::Gpu> { vec![] }",
        "fn f() { println!(\"{}\", crate::backend::gpu::NAME) }",
        "use super::backend::gpu;",
        "use crate::backend::{self, cpu, gpu::{self, Gpu}};",
        "use crate::backend;\nfn f() { backend::gpu::open() }",
        "mod inner { use super::super::backend::gpu::Gpu; }",
        "#[arg(value_parser = crate::backend::gpu::parse)] struct S;",
        "pub use crate::backend::gpu::Gpu;",
        "macro_rules! open { () => { $crate::backend::gpu::open() } }",
    ] {
        let (edge, told) = only(&[("host-gpu/src/run.rs", text)]);
        assert_eq!(edge, "run -> backend::gpu", "{text}");
        assert!(told.contains("host-gpu/src/run.rs:"), "{told}");
    }
    // From a room of its own below another one.
    assert_eq!(only(&[("host-gpu/src/backend/mod.rs", "pub use gpu::Gpu;")]).0, "backend -> backend::gpu");
}

#[test]
fn comments_and_texts_are_no_imports() {
    let text = r##"
        // use crate::run::Run;
        /* use crate::run::Run; /* nested */ crate::run::f() */
        /// [`crate::run::Run`]
        const A: &str = "crate::run::Run"; const B: &str = r#"use crate::run::Run;"#; const C: char = '"';
    "##;
    assert_eq!(found(&[("host-gpu/src/loader.rs", text)]), Ok(BTreeMap::new()));
}

#[test]
fn rooms_that_import_each_other_and_circles_are_found() {
    let (edge, text) = only(&[("host-gpu/src/rules/one.rs", "use crate::run::Run;")]);
    assert_eq!(edge, "rules -> run");
    assert!(text.contains("rules and run import each other"), "{text}");
    let (edge, text) = only(&[("host-gpu/src/backend/cpu.rs", "use crate::run::Run;")]);
    assert_eq!(edge, "backend -> run");
    assert!(text.contains("a circle: backend -> run -> rules -> backend"), "{text}");
}

#[test]
fn an_import_against_the_table_that_closes_no_circle_says_so() {
    let mut files = sound();
    files.insert("host-gpu/src/loader.rs".into(), String::new());
    files.insert("host-gpu/src/files.rs".into(), "use crate::loader::Loader;".into());
    let found = against_the_rule(&SMALL, &|file| files.get(file).cloned()).unwrap();
    assert!(found["files -> loader"].contains("no circle comes of it"), "{found:?}");
}

#[test]
fn tests_may_import_their_whole_crate_and_nothing_above() {
    let text = "#[cfg(test)]\nmod tests { use crate::run::Run; fn f() { crate::run::g() } }";
    assert_eq!(found(&[("host-gpu/src/backend/cpu.rs", text)]), Ok(BTreeMap::new()));
    let text = "#[cfg(all(test, unix))]\nuse crate::run::{Run};\n#[test]\nfn f() { crate::run::g() }";
    assert_eq!(found(&[("host-gpu/src/backend/cpu.rs", text)]), Ok(BTreeMap::new()));
    let above = "#[cfg(test)]\nmod tests { use crate::backend::gpu::Gpu; }";
    assert_eq!(only(&[("host-gpu/src/run.rs", above)]).0, "run (tests) -> backend::gpu");
    // Behind the tests, the rule holds again.
    let behind = "#[cfg(test)]\nmod tests {}\nuse crate::run::Run;";
    assert_eq!(only(&[("host-gpu/src/backend/cpu.rs", behind)]).0, "backend -> run");
    let any = "#[cfg(any(test, unix))]\nuse crate::run::Run;";
    assert_eq!(only(&[("host-gpu/src/backend/cpu.rs", any)]).0, "backend -> run");
    let file = [("host-gpu/src/run.rs", "#[cfg(test)]\nmod tests;"), ("host-gpu/src/run/tests.rs", "use crate::cli;")];
    assert_eq!(only(&file).0, "run (tests) -> cli");
}

#[test]
fn libraries_are_named_in_their_crate_alone() {
    let (edge, text) = only(&[("host-gpu/src/run.rs", "fn f() { cudarc::driver::open() }")]);
    assert_eq!(edge, "run -> cudarc");
    assert!(text.contains("only crate gpu may name cudarc") && text.contains("run.rs:"), "{text}");
}

#[test]
fn manifests_keep_to_the_rule() {
    let edge = |file: &str, text: &str| only(&[(file, text)]).0;
    let target = "[target.'cfg(unix)'.dependencies]\nother = { package = \"clapp-host-gpu\", version = \"0\" }";
    assert_eq!(edge("firmware/Cargo.toml", target), "firmware/Cargo.toml -> clapp-host-gpu");
    assert_eq!(edge("core/Cargo.toml", "[dev-dependencies]\ncudarc = \"0\""), "core/Cargo.toml -> cudarc");
    assert_eq!(edge("firmware/Cargo.toml", "clapp-data = \"0\""), "firmware/Cargo.toml -> clapp-data");
}

/// The same once a crate has a folder of its own.
#[test]
fn crates_of_their_own_are_checked_through_their_names() {
    let mut files = sound();
    let mut put = |file: &str, text: &str| files.insert(file.into(), text.into());
    put("host-gpu/src/lib.rs", "pub mod backend; pub mod cli; pub mod rules; pub mod run;");
    put("host-gpu/data/Cargo.toml", "[package]\nname = \"clapp-data\"");
    put("host-gpu/data/src/lib.rs", "pub mod files; pub mod loader;");
    put("host-gpu/data/src/files.rs", "");
    put("host-gpu/data/src/loader.rs", "use crate::files;");
    put("host-gpu/src/rules/one.rs", "use clapp_data::loader::pairs;\npub struct One;");
    let found = |files: &BTreeMap<String, String>| against_the_rule(&SMALL, &|file| files.get(file).cloned());
    assert_eq!(found(&files), Ok(BTreeMap::new()));
    files.insert("host-gpu/data/src/files.rs".into(), "use crate::loader;\nuse clapp_host_gpu::run::Run;".into());
    let wrong: Vec<String> = found(&files).unwrap().into_keys().collect();
    assert_eq!(wrong, ["files -> loader", "files -> run"]);
}

#[test]
fn rooms_outside_the_table_and_names_of_no_room_are_refused() {
    let error = found(&[("host-gpu/src/lib.rs", "mod attic;"), ("host-gpu/src/attic.rs", "use crate::files;")]);
    assert!(error.as_ref().unwrap_err().contains("attic is no room"), "{error:?}");
    let error = found(&[("host-gpu/src/files.rs", "use crate::*;")]);
    assert!(error.as_ref().unwrap_err().contains("crate::* is of no room"), "{error:?}");
    let error = found(&[("host-gpu/src/lib.rs", "mod missing;")]);
    assert!(error.as_ref().unwrap_err().contains("no file of module missing"), "{error:?}");
}

#[test]
fn the_list_of_known_edges_only_shrinks() {
    let found = found(&[("host-gpu/src/loader.rs", "use crate::run::Run;")]).unwrap();
    assert_eq!(compare(&found, "# Comment\n\nloader -> run\n"), Vec::<String>::new());
    assert_eq!(compare(&found, "").len(), 1);
    let wrong = compare(&found, "loader -> run\nloader -> cli");
    assert!(wrong.len() == 1 && wrong[0].contains("`loader -> cli` is gone"), "{wrong:?}");
}

/// The table's order leaves no room for a circle: all that passes goes from later rooms to earlier ones, or from a crate to
/// those that it uses, all of which stand before it.
#[test]
fn the_table_itself_has_no_circle() {
    for (place, each) in HOUSE.crates.iter().enumerate() {
        for used in each.uses {
            assert!(HOUSE.crates[..place].iter().any(|before| before.name == *used), "{} uses {used}", each.name);
        }
        let mut rooms = each.rooms.to_vec();
        rooms.sort_unstable();
        rooms.dedup();
        assert_eq!(rooms.len(), each.rooms.len(), "{}", each.name);
    }
}

/// What the reader makes of this repository's own program is no empty list.
#[test]
fn the_program_s_imports_are_read() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).ok();
    let all = sources("host-gpu/src/lib.rs", &read).unwrap().names;
    let cli = all.iter().filter(|name| name.module.first().is_some_and(|room| room == "cli")).count();
    assert!(cli > 100, "{cli} of {}", all.len());
}
