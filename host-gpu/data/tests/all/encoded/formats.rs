//! Every format that is read, by whatever name, whole and cut.

use std::io::Cursor;

use clapp_core::shape::Shape;
use clapp_data::data::{self, DataError};
use image::codecs::gif::GifEncoder;
use image::{Delay, DynamicImage, Frame, ImageFormat, Rgb, Rgba, RgbaImage};

use super::left_out;
use crate::sets::{Files, file, folder_files, jpeg, picture, write_files};

const FORMATS: [(ImageFormat, &str, &str); 6] = [
    (ImageFormat::Png, "png", "PNG"),
    (ImageFormat::WebP, "webp", "WebP"),
    (ImageFormat::Bmp, "bmp", "BMP"),
    (ImageFormat::Gif, "gif", "GIF"),
    (ImageFormat::Tiff, "tiff", "TIFF"),
    (ImageFormat::Pnm, "ppm", "PNM"),
];

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A set with `bytes` under the name `train/cat/NAME` as its first image.
fn decode(name: &str, bytes: &[u8]) -> Result<(Shape, Vec<u8>, &'static str), DataError> {
    let place = tempfile::tempdir().unwrap();
    let mut files = folder_files();
    files.retain(|(name, _)| !name.starts_with("train/cat/"));
    files.push((format!("train/cat/{name}"), bytes.to_vec()));
    write_files(place.path(), &files);
    let set = data::open(place.path()).unwrap();
    assert_eq!(set.train.len(), 6, "{name}: {:?}", set.left_out);
    let mut pixels = Vec::new();
    let seen = set.train.inspect(0, &mut pixels)?;
    Ok((seen.shape, pixels, seen.format))
}

#[test]
fn every_format_gives_the_same_pixels_under_any_name() {
    let picture = DynamicImage::from(picture(1, 1, 9, 7));
    let (shape, expected, _) = decode("x.png", &encoded(&picture, ImageFormat::Png)).unwrap();
    assert_eq!(shape, Shape::new(3, 7, 9));
    for (format, ending, called) in FORMATS {
        let bytes = encoded(&picture, format);
        for name in
            [format!("x.{ending}"), format!("x.{}", ending.to_uppercase()), "x.jpg".into(), "x".into(), "x.dat".into()]
        {
            let (found, pixels, format) = decode(&name, &bytes).unwrap();
            assert_eq!((found, format), (shape, called), "{name}");
            assert!(pixels == expected, "{name}");
        }
    }
}

#[test]
fn an_image_that_is_cut_is_no_image() {
    let picture = DynamicImage::from(picture(2, 3, 33, 21));
    for (format, ending, _) in FORMATS {
        let bytes = encoded(&picture, format);
        let name = format!("x.{ending}");
        let whole = decode(&name, &bytes).unwrap();
        for len in [3, 9, 20, bytes.len() / 2, bytes.len() * 9 / 10] {
            let text = decode(&name, &bytes[..len]).map(drop).unwrap_err().to_string();
            assert!(text.contains(&format!("train/cat/{name} is not a usable image")), "{len}: {text}");
        }
        // What follows the pixels may be missing.
        for less in 1..4 {
            let cut = decode(&name, &bytes[..bytes.len() - less]);
            assert!(cut.is_err() || cut.is_ok_and(|cut| cut == whole), "{ending} without {less} bytes");
        }
    }
}

#[test]
fn deep_and_transparent_images_become_8_bit_colour() {
    let deep = DynamicImage::from(image::ImageBuffer::from_fn(5, 2, |x, y| {
        Rgb([x as u16 * 0x1111, y as u16 * 0x8080, 0xffff])
    }));
    for (format, name) in [(ImageFormat::Png, "x.png"), (ImageFormat::Tiff, "x.tif"), (ImageFormat::Pnm, "x.ppm")] {
        let (_, pixels, _) = decode(name, &encoded(&deep, format)).unwrap();
        assert_eq!(pixels[..5], [0, 0x11, 0x22, 0x33, 0x44], "{name}");
        assert_eq!(pixels[10..20], [0, 0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80], "{name}");
        assert_eq!(pixels[20..], [0xff; 10], "{name}");
    }
    let clear = DynamicImage::from(RgbaImage::from_fn(4, 3, |x, y| Rgba([x as u8 * 60, y as u8 * 90, 7, 128])));
    for (format, name) in [(ImageFormat::WebP, "x.webp"), (ImageFormat::Tiff, "x.tif"), (ImageFormat::Bmp, "x.bmp")] {
        let (_, pixels, _) = decode(name, &encoded(&clear, format)).unwrap();
        assert_eq!(pixels[..4], [0, 60, 120, 180], "{name}");
        assert_eq!(pixels[24..], [7; 12], "{name}");
    }
    // 10 bits of grey in two bytes, as some cameras write.
    let mut grey = b"P5 2 1 1023\n".to_vec();
    grey.extend([0x03, 0xff, 0x02, 0x00]);
    assert_eq!(decode("x.pgm", &grey).unwrap().1[..2], [255, 128]);
    assert_eq!(decode("x.pbm", b"P1\n# by hand\n2 1\n0 1\n").unwrap().1[..2], [255, 0]);
}

#[test]
fn of_an_animation_the_first_picture_counts() {
    let mut bytes = Vec::new();
    let frame = |level: u8| {
        let picture = RgbaImage::from_pixel(6, 4, Rgba([level, 9, 200, 255]));
        Frame::from_parts(picture, 0, 0, Delay::from_numer_denom_ms(100, 1))
    };
    GifEncoder::new(&mut bytes).encode_frames([frame(10), frame(250)]).unwrap();
    let (shape, pixels, _) = decode("x.gif", &bytes).unwrap();
    assert_eq!((shape, pixels[0]), (Shape::new(3, 4, 6), 10));
}

/// A TIFF without compression: `samples` values of `bits` bits a pixel, of 2 x 1 pixels.
fn tiff(photometric: u16, bits: u16, samples: u16, format: u16, palette: Option<&[u16]>, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    let mut entries: Vec<(u16, u16, u32, u32)> = vec![
        (256, 3, 1, 2),
        (257, 3, 1, 1),
        (258, 3, 1, u32::from(bits)),
        (259, 3, 1, 1),
        (262, 3, 1, u32::from(photometric)),
        (273, 4, 1, 0),
        (277, 3, 1, u32::from(samples)),
        (278, 3, 1, 1),
        (279, 4, 1, pixels.len() as u32),
        (339, 3, 1, u32::from(format)),
    ];
    let ends = 8 + 2 + 12 * (entries.len() + usize::from(palette.is_some())) + 4;
    let depths = if samples > 2 { usize::from(samples) * 2 } else { 0 };
    if depths > 0 {
        (entries[2].2, entries[2].3) = (u32::from(samples), ends as u32);
        (entries[9].2, entries[9].3) = (u32::from(samples), ends as u32 + depths as u32);
    }
    let table = ends + 2 * depths;
    if let Some(palette) = palette {
        entries.insert(9, (320, 3, palette.len() as u32, table as u32));
    }
    entries[5].3 = (table + 2 * palette.map_or(0, <[u16]>::len)) as u32;
    bytes.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([0; 4]);
    for value in [bits, format] {
        (0..depths / 2).for_each(|_| bytes.extend(value.to_le_bytes()));
    }
    palette.unwrap_or_default().iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes.extend(pixels);
    bytes
}

#[test]
fn colours_of_print_are_converted_and_other_values_are_refused_in_words() {
    // Cyan, magenta, yellow, black: without ink white; half of black grey.
    let print = tiff(5, 8, 4, 1, None, &[0, 0, 0, 0, 0, 255, 255, 0]);
    let (_, pixels, _) = decode("x.tif", &print).unwrap();
    assert_eq!(pixels, [255, 255, 255, 0, 255, 0]);
    let (_, pixels, _) = decode("x.jpg", &print_jpeg([228, 128, 128, 228])).unwrap();
    for (found, expected) in [pixels[0], pixels[64], pixels[128]].into_iter().zip([203_u8, 114, 114]) {
        assert!(found.abs_diff(expected) <= 3, "{found}, not {expected}");
    }

    let real = tiff(2, 32, 3, 3, None, &[0; 24]);
    let text = decode("x.tif", &real).map(drop).unwrap_err().to_string();
    assert!(text.contains("32-bit floating-point numbers, expected 8 or 16 bits"), "{text}");
    let palette: Vec<u16> = (0..768).collect();
    let text = decode("x.tif", &tiff(3, 8, 1, 1, Some(&palette), &[1, 2])).map(drop).unwrap_err().to_string();
    assert!(text.contains("or as PNG") && text.contains("x.tif"), "{text}");
    let text = decode("x.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").map(drop).unwrap_err().to_string();
    assert!(text.contains("the format is HEIC, expected one of JPEG"), "{text}");
}

/// A JPEG of 8 x 8 pixels in four colours of print with Adobe's mark, each of one level.
fn print_jpeg(levels: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xee, 0, 14];
    bytes.extend(b"Adobe\0\x64\0\0\0\0\0");
    // Steps of 8: then the first value of a block is its level, less 128.
    bytes.extend([0xff, 0xdb, 0, 67, 0]);
    bytes.extend([8; 64]);
    bytes.extend([0xff, 0xc0, 0, 20, 8, 0, 8, 0, 8, 4]);
    (1..5).for_each(|component| bytes.extend([component, 0x11, 0]));
    // First values have 0 bits (code 0) or 7 (code 10); of the others there are none (code 0).
    bytes.extend([0xff, 0xc4, 0, 21, 0x00, 1, 1]);
    bytes.extend([0; 14]);
    bytes.extend([0, 7, 0xff, 0xc4, 0, 20, 0x10, 1]);
    bytes.extend([0; 15]);
    bytes.extend([0, 0xff, 0xda, 0, 14, 4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]);
    let mut bits = String::new();
    for level in levels {
        match level {
            128 => bits += "0",
            level => bits += &format!("10{:07b}", level - 128),
        }
        bits += "0";
    }
    while !bits.len().is_multiple_of(8) {
        bits += "1";
    }
    let packed = bits.as_bytes().chunks(8).map(|bits| bits.iter().fold(0, |sum, bit| sum << 1 | (bit - b'0')));
    bytes.extend(packed);
    bytes.extend([0xff, 0xd9]);
    bytes
}

#[test]
fn images_in_other_formats_and_other_files_are_counted_and_named() {
    let place = tempfile::tempdir().unwrap();
    let mut files: Files = folder_files();
    files.push(("train/cat/phone.HEIC".into(), b"\0\0\0\x18ftypheic".to_vec()));
    files.push(("train/cat/unnamed".into(), b"\0\0\0\x1cftypavif".to_vec()));
    files.push(("train/cat/BMW.md".into(), b"BMW and other cars, in a list".to_vec()));
    // One that lies about what it is.
    files.push(("train/dog/drawing.txt".into(), jpeg(&picture(1, 1, 20, 20))));
    (0..13).for_each(|number| files.push((format!("val/cat/{number:02}.svg"), b"<svg/>".to_vec())));
    write_files(place.path(), &files);
    let set = data::open(place.path()).unwrap();
    assert_eq!((set.train.len(), set.test.len()), (11, 4));
    assert!(set.left_out.warnings() > 0);
    let (count, names) = left_out(&set, "unsupported formats");
    assert_eq!((count, names.len()), (15, 10));
    assert_eq!(names[..3], ["train/cat/phone.HEIC", "train/cat/unnamed", "val/cat/00.svg"]);
    let line = set.left_out.iter().find(|entry| entry.count == 15).unwrap().line();
    assert!(line.contains("phone.HEIC") && line.ends_with("and 5 more"), "{line}");
    assert_eq!(left_out(&set, "not images"), (2, vec!["train/cat/BMW.md".into(), "train/cat/notes.txt".into()]));
    // An empty file is a bad image.
    file(&mut files, "train/cat/0.jpg").clear();
    write_files(place.path(), &files);
    assert!(data::open(place.path()).unwrap().train.image(0).unwrap_err().to_string().contains("the file is empty"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_images_never_panic(
        which in 0_usize..FORMATS.len(),
        keep in 0.3_f64..1.0,
        flips in proptest::collection::vec((0.0_f64..1.0, proptest::prelude::any::<u8>()), 1..6),
    ) {
        let mut bytes = encoded(&DynamicImage::from(picture(1, 2, 17, 11)), FORMATS[which].0);
        bytes.truncate((bytes.len() as f64 * keep) as usize + 1);
        let len = bytes.len() as f64;
        // Most of what can go wrong lies in the header.
        flips.into_iter().for_each(|(at, value)| bytes[(at * at * len) as usize] = value);
        if let Ok((shape, pixels, _)) = decode("x.png", &bytes) {
            proptest::prop_assert_eq!(pixels.len(), shape.len());
        }
    }
}
