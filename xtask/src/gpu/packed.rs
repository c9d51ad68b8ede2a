//! Batches of CIFAR-10 made small for the way to a borrowed machine: a batch of 10,000 images takes 17 MiB in place of 27
//! in the official archive, so that three ways carry the whole set.
//!
//! A file is gzip of one plane of labels, then for each image its green plane, red minus green, and blue minus green.
//! Each value is the difference from what its neighbours foretell (the median predictor of JPEG-LS). All differences are
//! of bytes, modulo 256. Other files are gzipped as they are.

use crate::Failed;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of a record: a label and three planes.
pub const RECORD: usize = 1 + 3 * PLANE;
/// Edge of an image.
const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// Ending of the name of a packed batch.
pub const BATCH: &str = "packed";
/// Ending of the name of any other packed file.
pub const FILE: &str = "gz";

/// The forecast of a value from its neighbours to the left, above, and above to the left.
fn foretold(plane: &[u8], at: usize) -> u8 {
    let (x, y) = (at % SIDE, at / SIDE);
    let above = || plane[at - SIDE];
    match (x, y) {
        (0, 0) => 0,
        (0, _) => above(),
        (_, 0) => plane[at - 1],
        _ => {
            let (left, above, corner) = (plane[at - 1], above(), plane[at - SIDE - 1]);
            let (least, most) = (left.min(above), left.max(above));
            if corner >= most {
                least
            } else if corner <= least {
                most
            } else {
                left.wrapping_add(above).wrapping_sub(corner)
            }
        }
    }
}

/// The bytes of a batch, differences in place of values.
fn differences(records: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = records.chunks_exact(RECORD).map(|record| record[0]).collect();
    for record in records.chunks_exact(RECORD) {
        let (red, rest) = record[1..].split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        let minus_green = |plane: &[u8]| plane.iter().zip(green).map(|(a, b)| a.wrapping_sub(*b)).collect::<Vec<u8>>();
        for plane in [green.to_vec(), minus_green(red), minus_green(blue)] {
            out.extend((0..PLANE).map(|at| plane[at].wrapping_sub(foretold(&plane, at))));
        }
    }
    out
}

/// The batch again.
fn records(differences: &[u8]) -> Option<Vec<u8>> {
    let count = differences.len() / RECORD;
    if count * RECORD != differences.len() {
        return None;
    }
    let (labels, images) = differences.split_at(count);
    let mut out = Vec::with_capacity(differences.len());
    for (label, image) in labels.iter().zip(images.chunks_exact(3 * PLANE)) {
        let mut planes = image.chunks_exact(PLANE).map(|differences| {
            let mut plane = vec![0_u8; PLANE];
            for at in 0..PLANE {
                plane[at] = differences[at].wrapping_add(foretold(&plane, at));
            }
            plane
        });
        let (green, red, blue) = (planes.next()?, planes.next()?, planes.next()?);
        let plus_green = |plane: &[u8]| plane.iter().zip(&green).map(|(a, b)| a.wrapping_add(*b)).collect::<Vec<u8>>();
        out.push(*label);
        out.extend([plus_green(&red), green.clone(), plus_green(&blue)].concat());
    }
    Some(out)
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Failed {
    Failed(format!("{}: {error}", path.display()))
}

fn gzip(bytes: &[u8], path: &Path) -> Result<(), Failed> {
    let file = File::create(path).map_err(|error| failed(path, error))?;
    let mut out = GzEncoder::new(file, Compression::best());
    out.write_all(bytes).and_then(|()| out.finish().map(drop)).map_err(|error| failed(path, error))
}

fn gunzip(path: &Path) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| failed(path, error))?;
    GzDecoder::new(BufReader::new(file)).read_to_end(&mut bytes).map_err(|error| failed(path, error))?;
    Ok(bytes)
}

/// Writes a batch as `FOLDER/NAME.packed`.
pub fn pack_batch(name: &str, bytes: &[u8], folder: &Path) -> Result<(), Failed> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        return Err(Failed(format!("{name}: {} bytes, expected whole records of {RECORD}", bytes.len())));
    }
    gzip(&differences(bytes), &folder.join(format!("{name}.{BATCH}")))
}

/// Writes a file as `FOLDER/NAME.gz`.
pub fn pack_file(path: &Path, folder: &Path) -> Result<(), Failed> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = std::fs::read(path).map_err(|error| failed(path, error))?;
    gzip(&bytes, &folder.join(format!("{name}.{FILE}")))
}

/// Unpacks every packed file of the folder `from` into `into`, each whole or not at all. One that is damaged does not
/// stop the others.
pub fn unpack(from: &Path, into: &Path) -> Result<(), Failed> {
    std::fs::create_dir_all(into).map_err(|error| failed(into, error))?;
    let mut packed: Vec<PathBuf> =
        from.read_dir().map_err(|error| failed(from, error))?.flatten().map(|entry| entry.path()).collect();
    packed.sort();
    let failures: Vec<String> =
        packed.iter().filter_map(|path| unpack_one(path, into).err()).map(|Failed(reason)| reason).collect();
    if failures.is_empty() { Ok(()) } else { Err(Failed(failures.join("\n"))) }
}

fn unpack_one(path: &Path, into: &Path) -> Result<(), Failed> {
    let bytes = match path.extension().and_then(|extension| extension.to_str()) {
        Some(BATCH) => records(&gunzip(path)?).ok_or_else(|| failed(path, "is no packed batch"))?,
        Some(FILE) => gunzip(path)?,
        _ => return Ok(()),
    };
    let target = into.join(path.file_stem().unwrap_or_default());
    let unfinished = target.with_extension("unfinished");
    std::fs::write(&unfinished, &bytes)
        .and_then(|()| std::fs::rename(&unfinished, &target))
        .map_err(|error| failed(&target, error))?;
    println!("{}: {} bytes", target.display(), bytes.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done<T>(result: Result<T, Failed>) -> T {
        result.unwrap_or_else(|Failed(why)| panic!("{why}"))
    }

    #[test]
    fn a_packed_batch_is_the_batch_again_and_smaller() {
        let place = tempfile::tempdir().expect("a folder");
        // Smooth pictures with some noise, and every value at the edges.
        let value = |at: usize| (at % 32 * 5 + at / 32 * 3 + at * at % 7 + 250 * (at % 991 / 990)) as u8;
        let batch: Vec<u8> = (0..12 * RECORD).map(value).collect();
        done(pack_batch("data_batch_1.bin", &batch, place.path()));
        let other: Vec<u8> = (0..=255).rev().collect();
        std::fs::write(place.path().join("clapp"), &other).expect("written");
        done(pack_file(&place.path().join("clapp"), place.path()));
        let into = place.path().join("there");
        done(unpack(place.path(), &into));
        assert_eq!(std::fs::read(into.join("data_batch_1.bin")).expect("a batch"), batch);
        assert_eq!(std::fs::read(into.join("clapp")).expect("a file"), other);
        assert_eq!(into.read_dir().expect("a folder").count(), 2);
        let packed = place.path().join("data_batch_1.bin.packed");
        assert!(packed.metadata().expect("a file").len() * 2 < batch.len() as u64);
    }

    #[test]
    fn what_is_damaged_is_named_and_the_rest_is_unpacked() {
        let place = tempfile::tempdir().expect("a folder");
        let batch = vec![7; RECORD];
        for name in ["a.bin", "b.bin"] {
            done(pack_batch(name, &batch, place.path()));
        }
        let cut = place.path().join("a.bin.packed");
        let bytes = std::fs::read(&cut).expect("a file");
        std::fs::write(&cut, &bytes[..bytes.len() / 2]).expect("written");
        let into = place.path().join("there");
        let Err(Failed(why)) = unpack(place.path(), &into) else { panic!("a damaged file was unpacked") };
        assert!(why.contains("a.bin.packed"), "{why}");
        assert!(into.join("b.bin").is_file() && !into.join("a.bin").exists());
        assert!(matches!(pack_batch("c.bin", &batch[1..], place.path()), Err(Failed(why)) if why.contains("c.bin")));
        gzip(&batch[1..], &place.path().join("d.bin.packed")).unwrap_or_else(|Failed(why)| panic!("{why}"));
        assert!(matches!(unpack(place.path(), &into), Err(Failed(why)) if why.contains("d.bin.packed: is no packed")));
    }
}
