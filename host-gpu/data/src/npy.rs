//! Writer of NumPy's file format for one array (version 1.0 of its documentation).

use std::io::{Result, Write};

/// The position of the first value is a multiple of this number.
const ALIGNMENT: usize = 64;

/// Magic number, version 1.0, and the length of what follows.
const BEGIN: usize = 10;

/// Writes everything before the values of an array of this `shape`, in C order, of values such as `<f4` (`f32`) or `<i8`
/// (`i64`); both are little-endian.
///
/// # Errors
/// Error of `out`.
pub fn write_header(out: &mut impl Write, values: &str, shape: &[usize]) -> Result<()> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    // The tuple of one axis ends with a comma, that of several axes does not.
    let sizes = if shape.len() == 1 { sizes.trim_end() } else { sizes.trim_end_matches(", ") };
    let mut text = format!("{{'descr': '{values}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let end = (BEGIN + text.len() + 1).next_multiple_of(ALIGNMENT);
    text += &" ".repeat(end - BEGIN - text.len() - 1);
    text.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    // Two sizes of twenty digits make less than 200 bytes.
    out.write_all(&(text.len() as u16).to_le_bytes())?;
    out.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_numpys_to_the_byte() {
        // numpy 1.26: np.lib.format.write_array of zeros, without the values.
        let header = |values, shape: &[usize]| {
            let mut bytes = Vec::new();
            write_header(&mut bytes, values, shape).unwrap();
            bytes
        };
        let matrix = header("<f4", &[3, 70]);
        assert_eq!(matrix.len(), 128);
        assert_eq!(matrix[..10], *b"\x93NUMPY\x01\x00v\x00");
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 70), }";
        assert_eq!(String::from_utf8_lossy(&matrix[10..]), format!("{text:<117}\n"));
        let text = "{'descr': '<i8', 'fortran_order': False, 'shape': (12,), }";
        assert_eq!(String::from_utf8_lossy(&header("<i8", &[12])[10..]), format!("{text:<117}\n"));
    }
}
