//! Checks that an image is a whole ELF: the header, the tables and sections that it names, and code.

/// Section types and flags, of the ELF specification.
const NOBITS: u32 = 8;
const EXECUTABLE: u64 = 4;

/// Entry sizes of a 64-bit ELF's tables of segments and sections.
const SEGMENT: u64 = 56;
const SECTION: u64 = 64;

/// Length of a 64-bit ELF's header.
const HEADER: usize = 64;

/// Says what is wrong with an image that is not a whole 64-bit ELF with code in it.
///
/// # Errors
/// In words.
pub fn check(image: &[u8]) -> Result<(), String> {
    if image.is_empty() {
        return Err("it is empty".into());
    }
    if !image.starts_with(b"\x7fELF") {
        return Err("it does not begin as an ELF".into());
    }
    let cut = || format!("it is cut off: {} bytes", image.len());
    if image.len() < HEADER {
        return Err(cut());
    }
    // 64 bits, little endian.
    if image[4..6] != [2, 1] {
        return Err("it is an ELF of another kind".into());
    }
    let len = image.len() as u64;
    let inside = |from: u64, bytes: u64| from.checked_add(bytes).is_some_and(|end| end <= len);
    let [segments, sections] = [32, 40].map(|at| number(image, at, 8));
    let [segment, segment_count, section, section_count] = [54, 56, 58, 60].map(|at| number(image, at, 2));
    let wrong_sizes = (segment_count > 0 && segment != SEGMENT) || section != SECTION;
    if wrong_sizes || section_count == 0 {
        return Err("it is an ELF without sections".into());
    }
    if !inside(segments, segment_count * SEGMENT) || !inside(sections, section_count * SECTION) {
        return Err(cut());
    }
    let mut code = false;
    for index in 0..section_count {
        // Inside, as the table is.
        let at = (sections + index * SECTION) as usize;
        let (kind, flags) = (number(image, at + 4, 4) as u32, number(image, at + 8, 8));
        let (offset, bytes) = (number(image, at + 24, 8), number(image, at + 32, 8));
        if kind != NOBITS && !inside(offset, bytes) {
            return Err(cut());
        }
        code |= kind != NOBITS && flags & EXECUTABLE != 0 && bytes > 0;
    }
    if code { Ok(()) } else { Err("it is an ELF without code".into()) }
}

/// As [`check`] of a library for this system, where libraries are such; elsewhere only whether there is one.
///
/// # Errors
/// As there.
pub fn check_library(image: &[u8]) -> Result<(), String> {
    if cfg!(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")) {
        return check(image);
    }
    if image.is_empty() { Err("it is empty".into()) } else { Ok(()) }
}

/// A little-endian number of up to 8 bytes.
fn number(image: &[u8], at: usize, bytes: usize) -> u64 {
    image[at..at + bytes].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The smallest image that passes: header, code, table of two sections.
    pub fn smallest(code: &[u8]) -> Vec<u8> {
        let mut image = vec![0; HEADER];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let table = (HEADER + code.len()) as u64;
        image[40..48].copy_from_slice(&table.to_le_bytes());
        image[58..60].copy_from_slice(&64_u16.to_le_bytes());
        image[60..62].copy_from_slice(&2_u16.to_le_bytes());
        image.extend(code);
        image.extend([0; 64]);
        let mut section = [0_u8; 64];
        section[4] = 1;
        section[8] = 6;
        section[24..32].copy_from_slice(&(HEADER as u64).to_le_bytes());
        section[32..40].copy_from_slice(&(code.len() as u64).to_le_bytes());
        image.extend(section);
        image
    }

    #[test]
    fn only_a_whole_image_with_code_passes() {
        let image = smallest(b"code");
        assert_eq!(check(&image), Ok(()));
        for len in 0..image.len() {
            assert!(check(&image[..len]).is_err(), "cut to {len}");
        }
        assert!(check(&smallest(b"")).is_err_and(|reason| reason.contains("without code")));
        assert!(check(b".version 9.0\n.target sm_90").is_err_and(|reason| reason.contains("does not begin")));
        let mut other = image.clone();
        other[4] = 1;
        assert!(check(&other).is_err_and(|reason| reason.contains("another kind")));
        // No number in the header makes it look beyond the image.
        for at in 0..image.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut hurt = image.clone();
                hurt[at] = value;
                let _ = check(&hurt);
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn programs_of_this_system_are_whole() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(check(&own), Ok(()));
        assert!(check(&own[..own.len() - 1]).is_err());
    }
}
