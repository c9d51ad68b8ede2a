//! Resources of a kernel on a multiprocessor, as reported by the assembler.

use std::collections::BTreeMap;

/// Resources of one kernel; bytes but for the registers, a thread or (shared memory) a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Registers of a thread.
    pub registers: u64,
    /// Stack frame of a thread, in device memory: of the kernel and of all functions that it calls.
    pub stack: u64,
    /// Registers written to that memory.
    pub spill_stores: u64,
    /// Registers read back from it.
    pub spill_loads: u64,
    /// Static shared memory of a block.
    pub shared: u64,
    /// Constant memory of all banks; architectures from 90 on name none.
    pub constant: u64,
}

/// Reads what `ptxas --verbose` prints, by kernel.
///
/// # Errors
/// Names the line that is not understood, or the kernel that has no registers named.
pub fn parse(text: &str) -> Result<BTreeMap<String, Usage>, String> {
    let mut kernels: BTreeMap<String, Usage> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        let wrong = || format!("ptxas printed \"{}\", which is not understood", line.trim());
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let name = rest.split('\'').next().unwrap_or_default().to_string();
            kernels.insert(name.clone(), Usage::default());
            current = Some(name);
            continue;
        }
        let spills = line.contains("bytes stack frame");
        let used = line.contains(": Used ");
        if !spills && !used {
            continue;
        }
        let usage = current.as_ref().and_then(|name| kernels.get_mut(name)).ok_or_else(wrong)?;
        if spills {
            // Also printed for functions that the kernel calls.
            usage.stack += before(line, "bytes stack frame").ok_or_else(wrong)?;
            usage.spill_stores += before(line, "bytes spill stores").ok_or_else(wrong)?;
            usage.spill_loads += before(line, "bytes spill loads").ok_or_else(wrong)?;
        } else {
            usage.registers = before(line, "registers").ok_or_else(wrong)?;
            usage.shared = before(line, "bytes smem").unwrap_or(0);
            usage.constant = line.split(", ").filter_map(|part| before(part, "bytes cmem")).sum();
        }
    }
    match kernels.iter().find(|(_, usage)| usage.registers == 0) {
        Some((name, _)) => Err(format!("ptxas has named no registers of {name}")),
        None => Ok(kernels),
    }
}

/// The number before these words.
fn before(line: &str, words: &str) -> Option<u64> {
    let (front, _) = line.split_once(words)?;
    front.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'tick' for 'sm_75'
ptxas info    : Function properties for tick
    8 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 30 registers, used 1 barriers, 2048 bytes smem, 376 bytes cmem[0], 192 bytes cmem[2]
ptxas info    : Compile time = 19.301 ms
ptxas info    : Function properties for __internal_accurate_pow
    16 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Compiling entry function 'scale' for 'sm_90'
ptxas info    : Function properties for scale
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 5 registers, used 0 barriers
";

    #[test]
    fn kernels_are_read_with_what_they_call() {
        let kernels = parse(TEXT).expect("sound");
        let tick = Usage { registers: 30, stack: 24, spill_stores: 4, spill_loads: 12, shared: 2048, constant: 568 };
        assert_eq!(kernels["tick"], tick);
        assert_eq!(kernels["scale"], Usage { registers: 5, ..Usage::default() });
        assert_eq!(kernels.len(), 2);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(parse("ptxas info : Used 5 registers, used 0 barriers").is_err());
        assert!(parse(&TEXT.replace("16 bytes stack", "many bytes stack")).is_err());
        let cut: Vec<&str> = TEXT.lines().take(10).collect();
        assert!(parse(&cut.join("\n")).is_err_and(|message| message.contains("scale")));
    }
}
