//! Kind of a file: supported image, image in another format, or no image.

use image::ImageFormat;

/// Formats that are read, for messages.
pub(super) const READ: &str = "JPEG, PNG, WebP, BMP, GIF, TIFF, PNM";

/// First bytes that tell a format.
pub(super) const HEAD: u64 = 64;

/// Kind of a file of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A supported format, by its name or its first bytes.
    Image,
    /// An unsupported format.
    Foreign,
    /// Something else.
    Other,
}

/// Endings of the formats that are read.
const IMAGES: [&str; 18] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "bmp", "dib", "gif", "tif", "tiff", "ppm", "pgm", "pbm",
    "pnm", "pam", "jif",
];
/// Endings of formats that are not read; those of raw pictures before all, which begin as TIFF does.
const FOREIGN: [&str; 47] = [
    "heic", "heif", "hif", "avif", "jp2", "j2k", "j2c", "jpf", "jpx", "jpm", "jxl", "jxr", "wdp", "svg", "svgz", "psd",
    "psb", "xcf", "eps", "raw", "cr2", "cr3", "crw", "nef", "nrw", "arw", "srf", "sr2", "dng", "orf", "rw2", "raf",
    "pef", "exr", "hdr", "ico", "cur", "tga", "dds", "qoi", "pcx", "xpm", "xbm", "ras", "fits", "dcm", "flif",
];

fn ending(name: &str) -> &str {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.rsplit_once('.').map_or("", |(_, ending)| ending)
}

fn is_one_of(name: &str, endings: &[&str]) -> bool {
    let ending = ending(name);
    endings.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// Returns `true` if a file name is that of a supported image.
pub(super) fn is_image(name: &str) -> bool {
    is_one_of(name, &IMAGES)
}

/// Returns the kind by the name of a file; `None` for most names.
pub(super) fn by_name(name: &str) -> Option<Kind> {
    if is_image(name) { Some(Kind::Image) } else { is_one_of(name, &FOREIGN).then_some(Kind::Foreign) }
}

/// Returns the kind by the first bytes of a file.
pub(super) fn by_content(head: &[u8]) -> Kind {
    match (format(head), foreign(head)) {
        (Some(_), _) => Kind::Image,
        (None, Some(_)) => Kind::Foreign,
        (None, None) => Kind::Other,
    }
}

/// The format that the first bytes of a file tell, of those that are read.
pub(super) fn format(head: &[u8]) -> Option<ImageFormat> {
    let is_bmp = || {
        // Many texts begin with "BM". In a BMP file, four bytes are zero and the next header has one of a few lengths.
        let length = head.get(14..18).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        head.starts_with(b"BM")
            && head.get(6..10) == Some(&[0; 4])
            && length.is_some_and(|length| [12, 40, 52, 56, 64, 108, 124].contains(&length))
    };
    let is_pnm = || matches!(head, [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n', next, ..] if next.is_ascii_digit() || b"#\r\n\tWHDMT".contains(next));
    match head {
        [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(ImageFormat::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(ImageFormat::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(ImageFormat::WebP),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some(ImageFormat::Tiff),
        _ if is_bmp() => Some(ImageFormat::Bmp),
        _ if is_pnm() => Some(ImageFormat::Pnm),
        _ => None,
    }
}

/// The name of the format that the first bytes of a file tell, of those that are not read.
pub(super) fn foreign(head: &[u8]) -> Option<&'static str> {
    match head {
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand {
            [b'a', b'v', b'i', ..] => Some("AVIF"),
            [b'h', b'e', ..] | [b'm', b'i', b'f', b'1', ..] | [b'm', b's', b'f', b'1', ..] => Some("HEIC"),
            [b'c', b'r', b'x', ..] => Some("a raw picture"),
            _ => None,
        },
        [0, 0, 0, 12, b'j', b'P', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => Some("JPEG 2000"),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', ..] => Some("JPEG XL"),
        [b'8', b'B', b'P', b'S', ..] => Some("PSD"),
        [0x76, 0x2f, 0x31, 0x01, ..] => Some("OpenEXR"),
        [b'q', b'o', b'i', b'f', ..] => Some("QOI"),
        [b'D', b'D', b'S', b' ', ..] => Some("DDS"),
        [0, 0, 1, 0, 1..=64, 0, ..] => Some("ICO"),
        [b'#', b'?', b'R', b'A', b'D', b'I', b'A', b'N', b'C', b'E', ..] => Some("Radiance HDR"),
        [b'I', b'I', 0xbc, ..] => Some("JPEG XR"),
        [b'<', b's', b'v', b'g', ..] => Some("SVG"),
        _ => None,
    }
}

/// A format's name, for tables.
pub(super) fn name_of(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::Gif => "GIF",
        ImageFormat::WebP => "WebP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Bmp => "BMP",
        _ => "PNM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_begin_like_an_image_are_none() {
        for text in ["BMW and other cars, a list of them", "P5 is a priority", "P3\nsee the plan", "II", "GIF89", ""] {
            assert_eq!(by_content(text.as_bytes()), Kind::Other, "{text}");
        }
        assert_eq!(by_content(b"P5\n# made by hand\n2 2\n255\nabcd"), Kind::Image);
        assert_eq!(by_content(b"P7\nWIDTH 2\nHEIGHT 2\n"), Kind::Image);
        assert_eq!(by_content(b"\0\0\0\x18ftypheic\0\0\0\0"), Kind::Foreign);
    }

    #[test]
    fn names_tell_by_their_ending_in_any_case() {
        assert_eq!(by_name("a/b.JPEG"), Some(Kind::Image));
        assert_eq!(by_name("a/b.Tif"), Some(Kind::Image));
        assert_eq!(by_name("a/b.HEIC"), Some(Kind::Foreign));
        assert_eq!(by_name("a.jpg/b"), None);
        assert_eq!(by_name("jpg"), None);
    }
}
