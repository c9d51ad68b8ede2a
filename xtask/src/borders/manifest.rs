//! The dependency sections of all manifests.

use super::house::House;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// The sections that name dependencies.
const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Dependencies that are against the rule: as the list writes them, and what to say of them.
///
/// # Errors
/// Where a manifest is missing or is no TOML.
pub fn against_the_rule(
    house: &House,
    read: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, String> {
    let manifest = |file: &str| {
        let text = read(file).ok_or_else(|| format!("{file}: not found"))?;
        text.parse::<Table>().map_err(|error| format!("{file}: {error}"))
    };
    let workspace = manifest("Cargo.toml")?;
    let members = workspace.get("workspace").and_then(|workspace| workspace.get("members")).and_then(Value::as_array);
    let mut wrong = BTreeMap::new();
    for folder in members.into_iter().flatten().filter_map(Value::as_str) {
        let file = format!("{folder}/Cargo.toml");
        let manifest = manifest(&file)?;
        let package = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
        let of = package.and_then(|package| house.package(package));
        for (section, name) in dependencies(&manifest) {
            let owner = house.libraries.iter().find(|(library, _)| *library == name).map(|(_, owner)| *owner);
            let why = match (owner.and_then(|owner| house.crate_of(owner)), house.package(&name)) {
                (Some(owner), _) => {
                    let moved = read(&format!("{}/Cargo.toml", owner.folder)).is_some();
                    let may = of.is_some_and(|of| of.name == owner.name || (of.name == house.program && !moved));
                    (!may).then(|| format!("only crate {} may depend on {name}", owner.name))
                }
                (None, Some(other)) => of.and_then(|of| {
                    let is_test = section == "dev-dependencies" && other.name == "firmware" && of.name != "core";
                    let may = of.name == other.name || of.uses.contains(&other.name) || is_test;
                    (!may).then(|| format!("upward: crate {} may not depend on crate {}", of.name, other.name))
                }),
                (None, None) => None,
            };
            if let Some(why) = why {
                let edge = format!("{file} -> {name}");
                wrong.insert(edge.clone(), format!("  {edge}: {why} (section {section})"));
            }
        }
    }
    Ok(wrong)
}

/// Section and package of each dependency, those for some targets included.
fn dependencies(manifest: &Table) -> Vec<(&'static str, String)> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flatten();
    let tables = targets.filter_map(|(_, target)| target.as_table()).chain([manifest]);
    let mut all = Vec::new();
    for table in tables {
        for section in SECTIONS {
            for (name, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
                // Under another name it is the same package.
                let package = value.get("package").and_then(Value::as_str).unwrap_or(name);
                all.push((section, package.to_string()));
            }
        }
    }
    all
}
