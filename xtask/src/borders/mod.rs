//! The import rule, checked over sources and manifests: no crate and no room imports upwards, so that no two rooms import
//! each other and there is no circle; some libraries are named in one crate alone.
//!
//! What is still against the rule stands in `borders.txt`, an edge a line. A new edge fails, and so does a line whose edge
//! is gone: the list only shrinks.

mod house;
mod manifest;
mod source;

use crate::{Failed, root};
use house::{Crate, HOUSE, House};
use source::{Name, sources};
use std::collections::{BTreeMap, BTreeSet};

/// The edges that are still against the rule.
const KNOWN: &str = "xtask/src/borders/borders.txt";

/// Checks this repository.
pub fn check() -> Result<(), Failed> {
    println!("\n==> borders: imports between crates and rooms");
    let read = |file: &str| std::fs::read_to_string(root().join(file)).ok();
    let known = read(KNOWN).ok_or_else(|| Failed(format!("{KNOWN}: not found")))?;
    let found = against_the_rule(&HOUSE, &read).map_err(Failed)?;
    let wrong = compare(&found, &known);
    if !wrong.is_empty() {
        return Err(Failed(format!("borders\n{}", wrong.join("\n"))));
    }
    match found.len() {
        0 => println!("no import against the rule"),
        count => println!("no import against the rule but the {count} that {KNOWN} lists"),
    }
    Ok(())
}

/// An edge against the rule, as the list writes it, and what to say of it.
type Edges = BTreeMap<String, String>;

/// All edges of a repository that are against the rule.
fn against_the_rule(house: &'static House, read: &dyn Fn(&str) -> Option<String>) -> Result<Edges, String> {
    let mut graph = Graph::default();
    let mut edges = Edges::new();
    let mut rooms = BTreeSet::new();
    for each in house.crates.iter().filter(|each| each.name == house.program || each.rooms != ["*"]) {
        let roots = ["lib.rs", "main.rs"].map(|root| format!("{}/src/{root}", each.folder));
        for root in roots.iter().filter(|root| read(root).is_some()) {
            let found = sources(root, read)?;
            rooms.extend(found.modules.iter().filter_map(|module| house.room(each, module, read)));
            for name in found.names {
                graph.add(house, each, name, read)?;
            }
        }
    }
    for (edge, import) in &graph.imports {
        if let Some(wrong) = house.judge(edge, import, &graph) {
            edges.insert(edge.to_string(), wrong);
        }
    }
    for room in house.crates.iter().flat_map(|each| each.rooms.iter().filter(|room| **room != "*")) {
        if !rooms.iter().any(|(_, found)| found == room) {
            return Err(format!("the table of rooms names {room}, which names nothing or is not there"));
        }
    }
    edges.extend(manifest::against_the_rule(house, read)?);
    Ok(edges)
}

/// What is found and not listed, and what is listed and not found.
fn compare(found: &Edges, known: &str) -> Vec<String> {
    let known: BTreeSet<&str> =
        known.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let new = found.iter().filter(|(edge, _)| !known.contains(edge.as_str())).map(|(_, text)| text.clone());
    let gone = known.iter().filter(|edge| !found.contains_key(**edge));
    let gone = gone.map(|edge| format!("  {KNOWN}: `{edge}` is gone; take the line out"));
    new.chain(gone).collect()
}

/// A room: the name of its crate, and its own.
type Room = (&'static str, &'static str);

/// From a room to another one, or to a library.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: Room,
    test: bool,
    to: Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Room(Room),
    Library(&'static str),
}

fn text((of, room): Room) -> String {
    if room == "*" { of.into() } else { room.into() }
}

impl std::fmt::Display for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let to = match self.to {
            Target::Room(room) => text(room),
            Target::Library(name) => name.into(),
        };
        write!(f, "{}{} -> {to}", text(self.from), if self.test { " (tests)" } else { "" })
    }
}

/// Where an edge is: file, line and name of each import.
#[derive(Default)]
struct Graph {
    imports: BTreeMap<Edge, Vec<(String, usize, String)>>,
}

impl Graph {
    fn add(
        &mut self,
        house: &'static House,
        of: &'static Crate,
        name: Name,
        read: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        let Some(from) = house.room(of, &name.module, read) else {
            return match name.module.first() {
                // The root of a crate stands above its rooms.
                None => Ok(()),
                Some(room) => Err(format!("{}: {room} is no room; add it to the table of rooms", name.file)),
            };
        };
        let path = name.path.join("::");
        let library = house.libraries.iter().find(|(library, _)| name.path[0] == *library);
        let to = match (house.package(&name.path[0]), library) {
            _ if name.path[0] == "crate" => of,
            (Some(other), _) => other,
            (None, Some((library, _))) => {
                let edge = Edge { from, test: name.test, to: Target::Library(library) };
                self.imports.entry(edge).or_default().push((name.file, name.line, path));
                return Ok(());
            }
            (None, None) => return Ok(()),
        };
        let Some(to) = house.room(to, &name.path[1..], read) else {
            return Err(format!("{}:{}: {path} is of no room; name the room that has it", name.file, name.line));
        };
        if to != from {
            let edge = Edge { from, test: name.test, to: Target::Room(to) };
            self.imports.entry(edge).or_default().push((name.file, name.line, path));
        }
        Ok(())
    }

    /// The rooms from one to another over imports outside tests, both included; the fewest.
    fn way(&self, from: Room, to: Room) -> Option<Vec<Room>> {
        let mut ways = vec![vec![from]];
        let mut seen = BTreeSet::from([from]);
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in &ways {
                for edge in self.imports.keys().filter(|edge| !edge.test && Some(&edge.from) == way.last()) {
                    let Target::Room(next) = edge.to else { continue };
                    let further = [&way[..], &[next]].concat();
                    if next == to {
                        return Some(further);
                    }
                    if seen.insert(next) {
                        longer.push(further);
                    }
                }
            }
            ways = longer;
        }
        None
    }
}

impl House {
    /// The room of a module, or of anything below it. In the program's folder these are the rooms of all crates whose
    /// folders are not there yet.
    fn room(
        &'static self,
        of: &'static Crate,
        module: &[String],
        read: &dyn Fn(&str) -> Option<String>,
    ) -> Option<Room> {
        let here = |each: &&Crate| {
            let moved = || read(&format!("{}/Cargo.toml", each.folder)).is_some();
            each.name == of.name || (of.name == self.program && !moved())
        };
        let all = self.crates.iter().filter(here).flat_map(|each| each.rooms.iter().map(|room| (each.name, *room)));
        let holds = |room: &str| {
            let parts: Vec<&str> = room.split("::").collect();
            parts.len() <= module.len() && parts.iter().zip(module).all(|(part, module)| part == module)
        };
        if of.rooms == ["*"] {
            return Some((of.name, "*"));
        }
        // The innermost one.
        all.filter(|(_, room)| holds(room)).max_by_key(|(_, room)| room.len())
    }

    /// What is wrong with an edge, if anything.
    fn judge(&self, edge: &Edge, imports: &[(String, usize, String)], graph: &Graph) -> Option<String> {
        let (of, _) = edge.from;
        let from = text(edge.from);
        let why = match edge.to {
            Target::Library(library) => {
                let owner = self.libraries.iter().find(|(name, _)| *name == library).map(|(_, owner)| *owner)?;
                (of != owner).then(|| format!("only crate {owner} may name {library}, and {from} is of crate {of}"))?
            }
            Target::Room(to) if to.0 == of => {
                let rooms = self.crate_of(of)?.rooms;
                let place = |room: &str| rooms.iter().position(|each| *each == room);
                if edge.test || place(to.1) <= place(edge.from.1) {
                    return None;
                }
                match graph.way(to, edge.from) {
                    Some(way) if way.len() == 2 => format!("{from} and {} import each other", text(to)),
                    Some(way) => {
                        let way: Vec<String> = way.into_iter().map(text).collect();
                        format!("a circle: {from} -> {}", way.join(" -> "))
                    }
                    None => format!(
                        "{from} stands before {} in the table of rooms; no circle comes of it, so move one of them there",
                        text(to)
                    ),
                }
            }
            Target::Room(to) => {
                // Tests on the host may run the firmware's logic.
                let may = self.crate_of(of)?.uses.contains(&to.0) || (edge.test && to.0 == "firmware" && of != "core");
                (!may).then(|| format!("upward: {from} is of crate {of}, {} of crate {}", text(to), to.0))?
            }
        };
        let places = imports.iter().map(|(file, line, name)| format!("    {file}:{line}: {name}"));
        Some([vec![format!("  {edge}: {why}")], places.collect()].concat().join("\n"))
    }
}

#[cfg(test)]
mod tests;
