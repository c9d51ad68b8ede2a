//! The panicking paths of a program for a microcontroller, and their origin.
//!
//! `tests/no-panic` shows that `clapp-core` by itself has none. This looks at the very program that is flashed: the linker
//! leaves its relocations in the file (`--emit-relocs`), so every place that calls a function, or takes its address, is
//! known; the debug information says from which source each place was inlined. A path is a place that leads to a function
//! of the standard library from which the panic handler can be reached. It belongs to the innermost file around it that is
//! not the standard library's.
//!
//! Panics that say the same are one to the compiler, wherever they came from; such a place has no line. Each panic brings
//! the name of its file with it, though, as a text in flash, so a file whose name is not there has none of them.
//!
//! Calls through a pointer are not followed: the standard library panics through none.

use crate::Failed;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use object::{File, Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionKind, SymbolKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The debug information of a program.
type Lines<'a> = addr2line::Context<EndianSlice<'a, LittleEndian>>;

/// The functions through which every panic goes.
const ROOTS: [&str; 2] = ["core::panicking::panic_fmt", "core::panicking::panic_nounwind_fmt"];

/// A function as the linker knows it.
struct Function {
    name: String,
    start: u64,
    end: u64,
}

impl Function {
    /// True if it is the standard library's, by its name or because nothing of another source is in it.
    fn is_standard(&self, lines: &Lines<'_>) -> Result<bool, String> {
        let name = self.name.trim_start_matches('<');
        let named = ["core::", "alloc::", "compiler_builtins::"].iter().any(|part| name.starts_with(part));
        Ok(named || owner(lines, self.start)?.is_none())
    }
}

/// The findings in a program.
pub struct Found {
    /// Files with a panicking path, each with what it calls.
    pub panicking: BTreeMap<PathBuf, BTreeSet<String>>,
    /// All files from which some place was inlined that calls anything.
    pub calling: BTreeSet<PathBuf>,
    /// Data in flash, without the code.
    flash: Vec<u8>,
}

impl Found {
    /// Those of the panicking paths that are in Rust files of `folder`, a folder of the workspace at `root`.
    pub fn under(&self, root: &Path, folder: &str) -> Vec<String> {
        let own = self.panicking.iter().filter(|(file, _)| file.starts_with(root.join(folder)));
        let mut all: Vec<String> =
            own.flat_map(|(file, calls)| calls.iter().map(move |call| format!("{}: {call}", file.display()))).collect();
        for file in rust_files(&root.join(folder)) {
            let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            if self.names(&name) {
                all.push(format!("{name} is named in flash as the place of a panic"));
            }
        }
        all
    }

    /// True if a file of the workspace is named in flash. Files of the standard library may have the same names in a
    /// folder `library`.
    fn names(&self, file: &str) -> bool {
        let starts = self.flash.windows(file.len()).enumerate().filter(|(_, window)| *window == file.as_bytes());
        starts.map(|(at, _)| &self.flash[..at]).any(|before| !before.ends_with(b"library/"))
    }
}

/// All Rust files under a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Looks through a program.
pub fn find(path: &Path) -> Result<Found, Failed> {
    let wrong = |reason: String| Failed(format!("{}: {reason}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let file = File::parse(bytes.as_slice()).map_err(|error| wrong(error.to_string()))?;
    let lines = lines(&file).map_err(|error| wrong(error.to_string()))?;
    let functions = functions(&file);
    let edges = edges(&file, &functions);
    if edges.is_empty() {
        return Err(wrong("has no relocations: it is not linked with --emit-relocs".into()));
    }
    let panicking = panicking(&functions, &edges);
    if panicking.is_empty() {
        return Err(wrong(format!("has none of {ROOTS:?}: nothing in it panics, or the names have changed")));
    }
    let standard = functions.iter().map(|function| function.is_standard(&lines)).collect::<Result<Vec<bool>, String>>();
    let standard = standard.map_err(wrong)?;
    let mut found = Found { panicking: BTreeMap::new(), calling: BTreeSet::new(), flash: data(&file) };
    for (place, from, to) in edges {
        let leads = panicking.contains(&functions[to].start) && standard[to] && !standard[from];
        let (from, to) = (&functions[from], &functions[to]);
        match owner(&lines, place).map_err(wrong)? {
            Some((owner, line)) => {
                if leads && line.is_some() {
                    let call = format!("{} calls {}", from.name, to.name);
                    found.panicking.entry(owner.clone()).or_default().insert(call);
                }
                found.calling.insert(owner);
            }
            // Without a source it counts as everybody's.
            None if leads => return Err(wrong(format!("{} calls {}, from no known source", from.name, to.name))),
            None => {}
        }
    }
    Ok(found)
}

/// Reads the debug information as it is: the linker has resolved the relocations that it has left in the file.
fn lines<'a>(file: &File<'a>) -> Result<Lines<'a>, addr2line::gimli::Error> {
    let load = |id: SectionId| -> Result<_, addr2line::gimli::Error> {
        let section = file.section_by_name(id.name());
        let data = section.and_then(|section| section.data().ok()).unwrap_or_default();
        Ok(EndianSlice::new(data, LittleEndian))
    };
    Lines::from_dwarf(Dwarf::load(load)?)
}

/// Data in flash besides code.
fn data(file: &File<'_>) -> Vec<u8> {
    let kinds = [SectionKind::ReadOnlyData, SectionKind::ReadOnlyString, SectionKind::Data];
    let sections = file.sections().filter(|section| kinds.contains(&section.kind()));
    sections.flat_map(|section| section.data().unwrap_or_default().to_vec()).collect()
}

/// All functions, by address.
fn functions(file: &File<'_>) -> Vec<Function> {
    let mut functions: Vec<Function> = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
        .map(|symbol| {
            // The lowest bit only says that the code is Thumb.
            let start = symbol.address() & !1;
            let name =
                symbol.name().map_or_else(|_| String::new(), |name| format!("{:#}", rustc_demangle::demangle(name)));
            Function { name, start, end: start + symbol.size() }
        })
        .collect();
    functions.sort_by_key(|function| function.start);
    functions
}

fn at(functions: &[Function], address: u64) -> Option<usize> {
    let after = functions.partition_point(|function| function.start <= address);
    let index = after.checked_sub(1)?;
    (address < functions[index].end).then_some(index)
}

/// Places in functions that name a function: address, function around it, function named.
fn edges(file: &File<'_>, functions: &[Function]) -> Vec<(u64, usize, usize)> {
    let mut edges = Vec::new();
    for section in file.sections() {
        for (place, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let Ok(symbol) = file.symbol_by_index(index) else { continue };
            let target = at(functions, symbol.address() & !1).filter(|_| symbol.kind() == SymbolKind::Text);
            if let (Some(from), Some(to)) = (at(functions, place), target) {
                edges.push((place, from, to));
            }
        }
    }
    edges
}

/// Start addresses of the functions from which a panic can be reached.
fn panicking(functions: &[Function], edges: &[(u64, usize, usize)]) -> BTreeSet<u64> {
    let is_root = |function: &&Function| ROOTS.contains(&function.name.as_str());
    let mut reached: BTreeSet<u64> = functions.iter().filter(is_root).map(|function| function.start).collect();
    loop {
        let before = reached.len();
        for &(_, from, to) in edges {
            if reached.contains(&functions[to].start) {
                reached.insert(functions[from].start);
            }
        }
        if reached.len() == before {
            return reached;
        }
    }
}

/// The innermost file around an address that is not the standard library's, and the line where it has one.
fn owner(lines: &Lines<'_>, address: u64) -> Result<Option<(PathBuf, Option<u32>)>, String> {
    let mut frames = lines.find_frames(address).skip_all_loads().map_err(|error| error.to_string())?;
    while let Some(frame) = frames.next().map_err(|error| error.to_string())? {
        let Some(location) = frame.location else { continue };
        if let Some(file) = location.file.filter(|file| !file.starts_with("/rustc/")) {
            return Ok(Some((PathBuf::from(file), location.line.filter(|&line| line > 0))));
        }
    }
    Ok(None)
}
