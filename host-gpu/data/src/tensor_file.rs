//! Safetensors files of `f32`, written and read one tensor at a time. The parameters of a wide network with their
//! optimiser state take gigabytes, and a second copy would not fit into memory.

use crate::error::Error;
use crate::files::write_with;
use crc::{CRC_32_ISO_HDLC, Crc, Digest, Table};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Values that are turned into bytes, or back, at a time.
const PIECE: usize = 1 << 14;

/// Of zip and PNG.
static CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// The checksum of some bytes, which come piece by piece: eight hexadecimal digits in the end.
pub struct Checksum(Digest<'static, u32, Table<16>>);

impl Checksum {
    /// Starts a checksum of no bytes.
    pub fn new() -> Self {
        Self(CHECKSUM.digest())
    }

    /// Returns the checksum of the bytes so far.
    pub fn text(self) -> String {
        format!("{:08x}", self.0.finalize())
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

/// The header's length is a multiple of this, so that the tensors are aligned.
const ALIGNMENT: usize = 8;

/// A tensor of a file: its name, the type of its values and its shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    name: String,
    values: Dtype,
    shape: Vec<usize>,
}

impl Item {
    /// Of `f32`.
    pub fn floats(name: &str, shape: Vec<usize>) -> Self {
        Self { name: name.into(), values: Dtype::F32, shape }
    }

    /// Of `i64`.
    pub fn whole_numbers(name: &str, shape: Vec<usize>) -> Self {
        Self { name: name.into(), values: Dtype::I64, shape }
    }

    fn bytes(&self) -> usize {
        let each = if self.values == Dtype::I64 { size_of::<i64>() } else { size_of::<f32>() };
        each * self.shape.iter().product::<usize>()
    }
}

/// Writes everything before the first tensor: the length of the header, and the header with one entry of metadata and
/// the names and shapes of all tensors, of `f32`, in the order in which they follow.
///
/// # Errors
/// Error of the library or of `out`.
pub fn write_header(
    out: &mut impl Write,
    entry: (&str, String),
    tensors: impl IntoIterator<Item = (String, Vec<usize>)>,
) -> std::io::Result<()> {
    write_header_of(out, entry, tensors.into_iter().map(|(name, shape)| Item::floats(&name, shape)))
}

/// Same as [`write_header`], for tensors of any type. Tensors of longer values come first, so that all are aligned.
///
/// # Errors
/// Error of the library or of `out`.
pub fn write_header_of(
    out: &mut impl Write,
    entry: (&str, String),
    tensors: impl IntoIterator<Item = Item>,
) -> std::io::Result<()> {
    let mut end = 0;
    let infos = tensors.into_iter().map(|tensor| {
        let start = end;
        end += tensor.bytes();
        (tensor.name, TensorInfo { dtype: tensor.values, shape: tensor.shape, data_offsets: (start, end) })
    });
    // Use one entry, because the format does not order several entries, and the same run must write the same bytes.
    let entry = HashMap::from([(entry.0.to_string(), entry.1)]);
    let metadata = Metadata::new(Some(entry), infos.collect()).map_err(std::io::Error::other)?;
    let mut json = serde_json::to_vec(&metadata)?;
    json.resize(json.len().next_multiple_of(ALIGNMENT), b' ');
    out.write_all(&(json.len() as u64).to_le_bytes())?;
    out.write_all(&json)
}

/// Writes the values of one tensor, little-endian, and adds their bytes to the checksum.
///
/// # Errors
/// Error of `out`.
pub fn write_values(out: &mut impl Write, values: &[f32], checksum: &mut Checksum) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(PIECE * size_of::<f32>());
    for piece in values.chunks(PIECE) {
        bytes.clear();
        bytes.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
        checksum.0.update(&bytes);
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Writes a file of `f32` tensors, whole or not at all: their names and shapes, the values of each in turn, and one
/// entry of metadata called `name`, which `entry` makes of the checksum of all values.
///
/// # Errors
/// [`Error::File`] if it cannot be written, and what `values` gives; what was at `path` before is then still there.
pub fn write_tensors(
    path: &Path,
    name: &str,
    mut entry: impl FnMut(String) -> serde_json::Result<String>,
    tensors: &[(String, Vec<usize>)],
    mut values: impl FnMut(usize) -> Result<Vec<f32>, Error>,
) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::file("write", path)(error);
    write_with(path, |file| {
        let mut header = |file: &mut BufWriter<&File>, checksum: Checksum| {
            write_header(file, (name, entry(checksum.text())?), tensors.iter().cloned())
        };
        let mut checksum = Checksum::new();
        // A header of the final length.
        header(file, Checksum::new()).map_err(failed)?;
        for at in 0..tensors.len() {
            write_values(file, &values(at)?, &mut checksum).map_err(failed)?;
        }
        file.rewind().and_then(|()| header(file, checksum)).map_err(failed)
    })
}

/// An open file whose header has been read and fits its length.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: BufReader<File>,
    metadata: Metadata,
    /// Position of the first tensor.
    start: u64,
}

impl TensorFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Checkpoint`] if it is not a whole safetensors file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let broken = |reason: &dyn std::fmt::Display| Error::Checkpoint {
            path: path.into(),
            message: format!("not a complete safetensors file: {reason}"),
        };
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::UnexpectedEof => broken(&"the file ends inside its header"),
            _ => Error::file("read", path)(error),
        };
        let mut file = BufReader::new(File::open(path).map_err(Error::file("read", path))?);
        let file_len = file.get_ref().metadata().map_err(failed)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(failed)?;
        let header_len = u64::from_le_bytes(length);
        let start = header_len.saturating_add(length.len() as u64);
        if start > file_len {
            return Err(broken(&format!("{file_len} bytes, but a header of {header_len}")));
        }
        let mut header = vec![0; header_len as usize];
        file.read_exact(&mut header).map_err(failed)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| broken(&error))?;
        let expected = start.saturating_add(metadata.data_len() as u64);
        if file_len != expected {
            return Err(broken(&format!("{file_len} bytes, expected {expected} by its header")));
        }
        Ok(Self { path: path.into(), file, metadata, start })
    }

    /// An entry of the metadata.
    pub fn entry(&self, name: &str) -> Option<&str> {
        self.metadata.metadata().as_ref().and_then(|entries| entries.get(name)).map(String::as_str)
    }

    /// Holds the bytes of all tensors against their checksum.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if they do not match; [`Error::File`] if they cannot be read.
    pub fn verify(&mut self, expected: &str) -> Result<(), Error> {
        let failed = |error| Error::file("read", &self.path)(error);
        self.file.seek(SeekFrom::Start(self.start)).map_err(failed)?;
        let (mut checksum, mut bytes) = (Checksum::new(), vec![0; PIECE * size_of::<f32>()]);
        loop {
            match self.file.read(&mut bytes).map_err(failed)? {
                0 => break,
                len => checksum.0.update(&bytes[..len]),
            }
        }
        let found = checksum.text();
        if found == expected {
            return Ok(());
        }
        Err(Error::Checkpoint {
            path: self.path.clone(),
            message: format!(
                "the file is damaged: its contents do not match its checksum (crc32 is {found}, expected {expected})"
            ),
        })
    }

    /// Reads one tensor, which must be `f32` of that shape and finite.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] with its name and what was expected; [`Error::File`] if it cannot be read.
    pub fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let wrong = |message: String| Error::Checkpoint { path: self.path.clone(), message };
        let info = self.metadata.info(name).ok_or_else(|| wrong(format!("tensor {name} is missing")))?;
        if info.dtype != Dtype::F32 || info.shape != shape {
            let found = format!("{:?} {:?}", info.dtype, info.shape);
            return Err(wrong(format!("tensor {name} is {found}, expected F32 {shape:?}")));
        }
        let len = (info.data_offsets.1 - info.data_offsets.0) / size_of::<f32>();
        let place = self.start + info.data_offsets.0 as u64;
        let failed = |error| Error::file("read", &self.path)(error);
        self.file.seek(SeekFrom::Start(place)).map_err(failed)?;
        let mut values = Vec::with_capacity(len);
        let mut bytes = vec![0; PIECE.min(len) * size_of::<f32>()];
        while values.len() < len {
            let count = PIECE.min(len - values.len());
            let piece = &mut bytes[..count * size_of::<f32>()];
            self.file.read_exact(piece).map_err(failed)?;
            let (words, _) = piece.as_chunks::<4>();
            values.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
        }
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(wrong(format!("tensor {name} holds a value that is not finite")))
        }
    }
}
