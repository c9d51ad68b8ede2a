//! The files of a zip, read from any thread.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};

use flate2::read::DeflateDecoder;
use rawzip::extra_fields::ExtraFieldId;
use rawzip::{
    CompressionMethod, FileReader, RECOMMENDED_BUFFER_SIZE, ZipArchive, ZipArchiveEntryWayfinder, ZipFileHeaderRecord,
};

/// A zip and the list of its files.
#[derive(Debug)]
pub(super) struct Zip {
    archive: ZipArchive<FileReader>,
    /// Its files in the order of the list; of those that have one name, the last.
    pub members: Vec<Member>,
    /// Names that it has more than once.
    pub repeated: Vec<String>,
}

/// A file as the zip's list has it.
#[derive(Debug)]
pub(super) struct Member {
    pub name: String,
    pub len: u64,
    pub encrypted: bool,
    /// True for a symbolic link: its bytes are the path of its target.
    pub link: bool,
    method: CompressionMethod,
    place: ZipArchiveEntryWayfinder,
}

fn failed(error: rawzip::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error.to_string())
}

impl Zip {
    /// Reads the list.
    ///
    /// # Errors
    /// An error if the file cannot be read, or is not a whole zip.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let archive = ZipArchive::from_file(file, &mut buffer).map_err(failed)?;
        let (mut members, mut repeated) = (Vec::<Member>::new(), Vec::new());
        let (mut places, mut count) = (HashMap::new(), 0);
        let mut entries = archive.entries(&mut buffer);
        while let Some(entry) = entries.next_entry().map_err(failed)? {
            count += 1;
            let member = Member::new(&entry);
            match places.get(&member.name) {
                Some(&place) => {
                    repeated.push(member.name.clone());
                    members[place] = member;
                }
                None => {
                    places.insert(member.name.clone(), members.len());
                    members.push(member);
                }
            }
        }
        if count != archive.entries_hint() {
            let text = format!("its list has {count} files, expected {}", archive.entries_hint());
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        repeated.sort_unstable();
        repeated.dedup();
        Ok(Self { archive, members, repeated })
    }

    /// The bytes of member `i`; at their end, length and checksum must be those of the list.
    ///
    /// # Errors
    /// An error if it cannot be read, or has an unknown compression.
    pub(super) fn reader(&self, i: usize) -> io::Result<Box<dyn Read + '_>> {
        let member = &self.members[i];
        let entry = self.archive.get_entry(member.place).map_err(failed)?;
        if member.encrypted {
            return Err(io::Error::new(ErrorKind::Unsupported, "is encrypted"));
        }
        match member.method {
            CompressionMethod::STORE => Ok(Box::new(entry.verifying_reader(entry.reader()))),
            CompressionMethod::DEFLATE => Ok(Box::new(entry.verifying_reader(DeflateDecoder::new(entry.reader())))),
            other => {
                let name = other.name().map_or_else(|| format!("method {}", other.as_u16()), String::from);
                let text = format!("is compressed by {name}; known are Deflate and none");
                Err(io::Error::new(ErrorKind::Unsupported, text))
            }
        }
    }
}

impl Member {
    fn new(entry: &ZipFileHeaderRecord<'_>) -> Self {
        Self {
            name: name_of(entry),
            len: entry.uncompressed_size_hint(),
            encrypted: entry.flags().is_encrypted(),
            link: entry.mode().is_symlink(),
            method: entry.compression_method(),
            place: entry.wayfinder(),
        }
    }
}

/// The name of a file: UTF-8, or the UTF-8 that Info-ZIP adds to another name, or that name in code page 437.
fn name_of(entry: &ZipFileHeaderRecord<'_>) -> String {
    let path = entry.file_path();
    let bytes = path.as_bytes();
    if let Ok(name) = std::str::from_utf8(bytes) {
        return name.into();
    }
    let unicode = entry.extra_fields().find_map(|(id, data)| {
        let (head, name) = data.split_at_checked(5).filter(|_| id == ExtraFieldId::INFO_ZIP_UNICODE_PATH)?;
        let same = head[1..] == rawzip::crc32(bytes).to_le_bytes();
        std::str::from_utf8(name).ok().filter(|_| same)
    });
    unicode.map_or_else(|| bytes.iter().map(|&byte| in_437(byte)).collect(), String::from)
}

/// A character of code page 437.
fn in_437(byte: u8) -> char {
    const UPPER: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
    match byte.checked_sub(0x80) {
        None => char::from(byte),
        Some(place) => UPPER.chars().nth(place.into()).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

#[cfg(test)]
mod tests {
    use super::in_437;

    #[test]
    fn names_in_code_page_437() {
        let list = [0x41, 0x80, 0x84, 0x9f, 0xa0, 0xe1, 0xf1, 0xff].map(in_437);
        assert_eq!(list, ['A', 'Ç', 'ä', 'ƒ', 'á', 'ß', '±', '\u{a0}']);
        // Every byte is a character of its own.
        let all: std::collections::HashSet<char> = (0..=255).map(in_437).collect();
        assert_eq!(all.len(), 256);
    }
}
