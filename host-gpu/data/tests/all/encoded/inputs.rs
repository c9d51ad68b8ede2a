//! The inputs that have gone wrong, where they lie beside the repository.

use std::fs::File;
use std::path::Path;

use clapp_data::data;
use flate2::read::GzDecoder;

use super::{all, left_out};

#[test]
fn inputs_that_went_wrong_come_out_right() {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/inputs/inputs.tar.gz");
    let Ok(file) = File::open(&archive) else {
        println!("NOT RUN: there is no file {}", archive.display());
        return;
    };
    let place = tempfile::tempdir().unwrap();
    tar::Archive::new(GzDecoder::new(file)).unpack(place.path()).unwrap();
    let open = |name: &str| data::open(&place.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let whole = open("ok");
    assert!(whole.left_out.is_empty() && whole.warnings().is_empty(), "{:?}", whole.left_out);
    assert_eq!(whole.counts(), [vec![8; 3], vec![4; 3]]);

    let formats = open("formats");
    assert!(formats.left_out.is_empty(), "{:?}", formats.left_out);
    assert_eq!(formats.counts()[0], [13, 8, 8]);
    let checked = formats.check_images(|| ());
    assert!(checked.bad.is_empty(), "{:?}", checked.bad);
    let expected = [("BMP", 1), ("GIF", 1), ("JPEG", 36), ("PNM", 1), ("TIFF", 1), ("WebP", 1)];
    assert_eq!(Vec::from_iter(checked.formats), expected);

    let empty = open("emptyclass");
    assert_eq!(empty.classes, ["ant", "bee", "cat", "dog"]);
    assert_eq!(empty.warnings(), ["1 class without any image: dog"]);

    let links = open("lnk");
    assert_eq!(links.counts(), [vec![3, 1], vec![1, 1]]);
    assert!(all(&open("lnk.tgz")) == all(&links));
    assert!(links.left_out.is_empty());

    let dots = open("okdot.tar.gz");
    assert!(dots.left_out.is_empty() && dots.warnings().is_empty());
    assert_eq!(dots.counts(), whole.counts());

    let untested = open("valmissing");
    assert_eq!(untested.warnings().len(), 1);
    assert!(untested.warnings()[0].contains("without test images"), "{:?}", untested.warnings());

    let digits = open("m_dots");
    assert_eq!((digits.train.len(), digits.test.len(), digits.channels()), (60, 20, 1), "{}", digits.source);

    let sorted = open("t_sorted");
    assert_eq!((sorted.name.as_str(), sorted.train.len(), sorted.test.len()), ("tiny-imagenet", 12, 6));
    assert_eq!(left_out(&sorted, "formats").0, 0);
}
