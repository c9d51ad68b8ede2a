//! The cost of networks and kernels on a microcontroller, measured in QEMU, kept and gated.

use crate::firmware::{BOARDS, Board};
use crate::results::write;
use crate::{Failed, root};
use object::{Object, ObjectSection, SectionFlags, SectionKind, elf};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The numbers of one program, by name.
type Numbers = BTreeMap<String, u64>;
/// The numbers of all programs of a board, by program; of all boards, by board.
type All = BTreeMap<String, BTreeMap<String, Numbers>>;

/// Networks, and what they are.
const NETWORKS: [(&str, &str); 4] = [
    ("cost-tiny", "tiny: 16x16x1, 3 layers"),
    ("cost-small", "small: 32x32x1, 3 layers"),
    ("cost-colour", "colour: 32x32x3, 4 layers"),
    ("cost-deeper", "deeper: as colour, its top layer twice"),
];
const KERNELS: &str = "cost-kernels";
/// The program that learns over the line; measured at rest.
const FIRMWARE: &str = "clapp-firmware";

/// Channels and side of the maps that the kernels are measured on.
const SIZES: [(u32, u32); 6] = [(16, 32), (16, 16), (16, 8), (32, 16), (32, 8), (32, 4)];

/// A number may grow by so much before the gate closes.
const SLACK: f64 = 1.05;
/// Most instructions a multiply-accumulate of a 3x3 convolution, forward and for the weight gradient.
const MOST_A_MAC: f64 = 2.4;
/// All memory of the network in colour while it learns.
const MOST_RAM: u64 = 256 * 1024;
/// Bytes that the learner keeps about a layer besides parameters and context.
const LAYER_STATE: u64 = 12;

const JSON: &str = "benches/results/embedded.json";
const TABLE: &str = "benches/results/embedded.md";

/// Measures; with `check` compares with what is kept, else keeps it.
pub fn size(check: bool) -> Result<(), Failed> {
    let all = measure()?;
    let mut wrong = broken_bounds(&all)?;
    if check {
        let path = root().join(JSON);
        let text = std::fs::read_to_string(&path).map_err(|error| Failed(format!("{JSON}: {error}")))?;
        let kept: All = serde_json::from_str(&text).map_err(|error| Failed(format!("{JSON}: {error}")))?;
        wrong.extend(grown(&kept, &all));
    }
    if !wrong.is_empty() {
        return Err(Failed(format!("the cost on a microcontroller:\n  {}", wrong.join("\n  "))));
    }
    if !check {
        let json = serde_json::to_string_pretty(&all).map_err(|error| Failed(format!("{JSON}: {error}")))?;
        write(&root().join(JSON), &(json + "\n"))?;
        write(&root().join(TABLE), &table(&all)?)?;
    }
    println!("{}", table(&all)?);
    Ok(())
}

fn measure() -> Result<All, Failed> {
    let mut all = All::new();
    for board in &BOARDS {
        let folder = board.build()?;
        let mut programs = BTreeMap::new();
        for program in NETWORKS.map(|(program, _)| program).into_iter().chain([KERNELS, FIRMWARE]) {
            let mut numbers =
                if program == FIRMWARE { Numbers::new() } else { parse(program, &board.measure(program)?)? };
            let bytes = std::fs::read(folder.join(program)).map_err(|error| Failed(format!("{program}: {error}")))?;
            let (flash, ram) = sizes(&bytes).map_err(|error| Failed(format!("{program}: {error}")))?;
            numbers.extend([("flash".into(), flash), ("static_ram".into(), ram)]);
            programs.insert(program.into(), numbers);
        }
        all.insert(board.name.into(), programs);
    }
    Ok(all)
}

/// Lines of `name=value`.
fn parse(program: &str, text: &str) -> Result<Numbers, Failed> {
    let line = |line: &str| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_string(), value.parse().ok()?))
    };
    text.lines()
        .map(|text| line(text).ok_or_else(|| Failed(format!("{program} printed \"{text}\", not a name and a number"))))
        .collect()
}

/// Bytes of a program in flash, and bytes of its statics.
fn sizes(bytes: &[u8]) -> object::Result<(u64, u64)> {
    let file = object::File::parse(bytes)?;
    let (mut flash, mut ram) = (0, 0);
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        if sh_flags & elf::SHF_ALLOC == elf::SectionFlags(0) {
            continue;
        }
        if section.kind() != SectionKind::UninitializedData {
            flash += section.size();
        }
        if sh_flags & elf::SHF_WRITE != elf::SectionFlags(0) {
            ram += section.size();
        }
    }
    Ok((flash, ram))
}

fn number(all: &All, board: &Board, program: &str, name: &str) -> Result<u64, Failed> {
    let value = all.get(board.name).and_then(|programs| programs.get(program)).and_then(|numbers| numbers.get(name));
    value.copied().ok_or_else(|| Failed(format!("{program} on {} has not measured {name}", board.name)))
}

/// The bounds that are broken, whatever numbers are kept.
fn broken_bounds(all: &All) -> Result<Vec<String>, Failed> {
    let mut wrong = Vec::new();
    for board in &BOARDS {
        let get = |program: &str, name: &str| number(all, board, program, name);
        let mut must = |holds: bool, what: String| {
            if !holds {
                wrong.push(format!("{}: {what}", board.core));
            }
        };
        for program in NETWORKS.map(|(program, _)| program).into_iter().chain([KERNELS]) {
            let counted = get(program, "instructions_counted_of_a_million")?;
            must(counted.abs_diff(1_000_000) <= 80, format!("{program}: {counted} instructions counted of a million"));
        }
        for (program, _) in NETWORKS {
            let (done, possible) = (get(program, "updates")?, get(program, "updates_possible")?);
            must(done == possible, format!("{program}: {done} of {possible} updates happened"));
        }
        for (channels, side) in SIZES {
            for (case, kernel) in
                [("dense", "forward"), ("dense", "gradient"), ("sparse", "forward"), ("sparse", "gradient")]
            {
                let value = |what: &str| get(KERNELS, &format!("{case}_{channels}_{side}_{what}"));
                let cost = value(kernel)? as f64 / value("macs")? as f64;
                let what =
                    format!("{case} {kernel}, {channels} channels on {side}x{side}: {cost:.2} instructions a product");
                must(cost <= MOST_A_MAC, format!("{what}, more than {MOST_A_MAC}"));
            }
        }
        let total = get("cost-colour", "static_ram")? + get("cost-colour", "stack_used")?;
        must(total <= MOST_RAM, format!("colour takes {total} bytes of RAM, more than {MOST_RAM}"));
        // A layer more of the same size: its parameters, its context, and nothing else.
        let more = |name: &str| Ok(get("cost-deeper", name)?.saturating_sub(get("cost-colour", name)?));
        let (ram, own) = (more("static_ram")?, more("parameter_bytes")? + more("context_bytes")? + LAYER_STATE);
        must(more("workspace_bytes")? == 0, "a layer more makes the workspace grow".into());
        must(ram <= own, format!("a layer more of {own} bytes makes the program grow by {ram} bytes of RAM"));
        let stack = more("stack_used")?;
        must(stack == 0, format!("a layer more takes {stack} bytes of stack"));
    }
    Ok(wrong)
}

/// Costs that have grown by more than the slack, and costs that are not kept yet.
fn grown(kept: &All, all: &All) -> Vec<String> {
    let mut wrong = Vec::new();
    for (board, programs) in all {
        for (program, numbers) in programs {
            for (name, &value) in numbers {
                let before = kept.get(board).and_then(|kept| kept.get(program)).and_then(|kept| kept.get(name));
                let at = format!("{board}, {program}, {name}");
                match before {
                    None => wrong.push(format!("{at}: {value} is not in {JSON}; `cargo xtask size` writes it")),
                    Some(&before) if value as f64 > before as f64 * SLACK => {
                        wrong
                            .push(format!("{at}: {value}, but {before} is kept; `cargo xtask size` keeps the new one"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    wrong
}

fn table(all: &All) -> Result<String, Failed> {
    let mut text = String::from(
        "# Cost on a microcontroller\n\n`cargo xtask size`\n\n\
         Counted in QEMU under `-icount shift=0`, where each instruction takes the same emulated time: instructions, not \
         cycles, the same in every run. `cargo xtask test` fails where a number has grown by more than 5 %, and over the \
         bounds named below.\n\n\
         ## Networks\n\n\
         SGD; a learning step is `observe`: forward, third factor, update of weights and projections of all layers, the mean \
         of 16 steps all of which change all layers. Flash and static RAM are those of the whole program (which also measures \
         and prints), static RAM holds parameters, context, workspace and one frame; the stack is the painted high-water \
         mark. A MAC is a multiply-accumulate of the plan: `forward_macs` for inference, `stream_macs` for a step, \
         as if no error were zero. Bounds: colour learns in 256 KiB of RAM in all; a layer more of the same size takes RAM \
         for its parameters and its context, and nothing else.\n\n\
         | network | core | flash, bytes | static RAM, bytes | stack, bytes | RAM in all, KiB | inference, instructions | a MAC \
         | learning step, instructions | a MAC | longest call (one layer) |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (program, title) in NETWORKS {
        for board in &BOARDS {
            let get = |name: &str| number(all, board, program, name);
            let (flash, ram, stack) = (get("flash")?, get("static_ram")?, get("stack_used")?);
            let (inference, step) = (get("inference")?, get("step_mean")?);
            let _ = writeln!(
                text,
                "| {title} | {} | {flash} | {ram} | {stack} | {:.1} | {inference} | {:.2} | {step} | {:.2} | {} |",
                board.core,
                (ram + stack) as f64 / 1024.0,
                inference as f64 / get("forward_macs")? as f64,
                step as f64 / get("step_macs")? as f64,
                get("layer_most")?,
            );
        }
    }
    let _ = writeln!(
        text,
        "\nThe firmware with its built-in network, at rest:\n\n| core | flash, bytes | static RAM, bytes |\n|---|---|---|"
    );
    for board in &BOARDS {
        let get = |name: &str| number(all, board, FIRMWARE, name);
        let _ = writeln!(text, "| {} | {} | {} |", board.core, get("flash")?, get("static_ram")?);
    }
    let _ = write!(
        text,
        "\n## 3x3 convolution\n\n\
         Stride 1, one row and column of padding, as many output channels as input channels. Instructions a MAC of the plan \
         (output elements times fan-in). The dense gradient has an error at every position; the sparse one lies behind ReLU \
         and a 2x2 max-pool, so that at most a quarter of all positions have an error and only these are visited: the last \
         column counts its instructions against the MACs that are really done. Bound: {MOST_A_MAC} a MAC of the plan, forward \
         and for both gradients.\n\n\
         | channels | map | core | forward | forward with ReLU and max-pool | gradient, dense | gradient, sparse | gradient, \
         sparse, a MAC done |\n|---|---|---|---|---|---|---|---|\n"
    );
    for (channels, side) in SIZES {
        for board in &BOARDS {
            let per = |case: &str, what: &str, of: &str| {
                let value = |what: &str| number(all, board, KERNELS, &format!("{case}_{channels}_{side}_{what}"));
                Ok(value(what)? as f64 / value(of)? as f64)
            };
            let _ = writeln!(
                text,
                "| {channels} | {side}x{side} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
                board.core,
                per("dense", "forward", "macs")?,
                per("sparse", "forward", "macs")?,
                per("dense", "gradient", "macs")?,
                per("sparse", "gradient", "macs")?,
                per("sparse", "gradient", "errors_macs")?,
            );
        }
    }
    text.push_str("\nWritten by `cargo xtask size`.\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(value: u64) -> All {
        let numbers = Numbers::from([("inference".into(), value)]);
        All::from([("board".into(), BTreeMap::from([("program".into(), numbers)]))])
    }

    #[test]
    fn a_cost_may_grow_by_the_slack_and_no_more() {
        assert!(grown(&kept(1000), &kept(1050)).is_empty());
        assert!(grown(&kept(1000), &kept(10)).is_empty());
        assert_eq!(grown(&kept(1000), &kept(1051)).len(), 1);
        assert_eq!(grown(&All::new(), &kept(1)).len(), 1);
    }

    #[test]
    fn each_bound_is_kept_and_would_be_missed() {
        let text = std::fs::read_to_string(root().join(JSON)).expect("what is kept");
        let sound: All = serde_json::from_str(&text).expect("numbers");
        assert!(broken_bounds(&sound).is_ok_and(|wrong| wrong.is_empty()));
        let changes = [
            (KERNELS, "dense_16_16_gradient", 1_500_000),
            (KERNELS, "dense_32_4_forward", 400_000),
            (KERNELS, "sparse_32_4_gradient", 400_000),
            ("cost-colour", "static_ram", MOST_RAM),
            ("cost-deeper", "static_ram", 300_000),
            ("cost-deeper", "workspace_bytes", 50_000),
            ("cost-deeper", "stack_used", 10_000),
            ("cost-tiny", "updates", 1),
            ("cost-small", "instructions_counted_of_a_million", 900_000),
        ];
        for (program, name, value) in changes {
            let mut all = sound.clone();
            let numbers = all.get_mut(BOARDS[1].name).and_then(|programs| programs.get_mut(program));
            let before = numbers.and_then(|numbers| numbers.insert(name.into(), value));
            assert!(before.is_some(), "{program} has no {name}");
            assert!(broken_bounds(&all).is_ok_and(|wrong| wrong.len() == 1), "{program}, {name}: {value}");
        }
    }

    #[test]
    fn what_a_program_prints_is_read_or_refused() {
        assert!(parse("p", "a=1\nb=20\n").is_ok_and(|numbers| numbers.len() == 2 && numbers["b"] == 20));
        assert!(parse("p", "a=1\nboard panicked").is_err());
    }
}
