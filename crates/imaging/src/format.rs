//! Which kind of file a photo is, told from its first bytes.

use std::fmt;

use image::ImageFormat;

/// File formats that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// JPEG, baseline or progressive.
    Jpeg,
    /// PNG.
    Png,
    /// WebP, lossy or lossless.
    WebP,
    /// Windows bitmap.
    Bmp,
    /// GIF; the first frame counts.
    Gif,
    /// TIFF; the first page counts.
    Tiff,
}

impl Format {
    /// Every format, in a fixed order.
    pub const ALL: &'static [Self] = &[Self::Jpeg, Self::Png, Self::WebP, Self::Bmp, Self::Gif, Self::Tiff];

    /// The usual name, as a person writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
            Self::Tiff => "TIFF",
        }
    }

    /// The media type of the IANA registry.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
            Self::Bmp => "image/bmp",
            Self::Gif => "image/gif",
            Self::Tiff => "image/tiff",
        }
    }

    /// The format these bytes begin like. Names and declared types are not looked at.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xFF, 0xD8, 0xFF, ..] => Some(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            [b'B', b'M', ..] => Some(Self::Bmp),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some(Self::Tiff),
            _ => None,
        }
    }

    pub(crate) const fn to_image(self) -> ImageFormat {
        match self {
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png => ImageFormat::Png,
            Self::WebP => ImageFormat::WebP,
            Self::Bmp => ImageFormat::Bmp,
            Self::Gif => ImageFormat::Gif,
            Self::Tiff => ImageFormat::Tiff,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What bytes that are none of the formats look like, for an error message.
pub(crate) fn looks_like(bytes: &[u8]) -> &'static str {
    // The 64 bytes may end within a character.
    let head = &bytes[..bytes.len().min(64)];
    let text = match str::from_utf8(head) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() => str::from_utf8(&head[..e.valid_up_to()]).unwrap_or_default(),
        Err(_) => "",
    };
    let text = text.trim_start_matches('\u{feff}').trim_start().to_lowercase();
    match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.get(..4) {
            Some(b"heic" | b"heix" | b"mif1" | b"msf1" | b"hevc") => "a HEIC photo",
            Some(b"avif" | b"avis") => "an AVIF image",
            _ => "a video",
        },
        [b'%', b'P', b'D', b'F', ..] => "a PDF document",
        [0x1A, 0x45, 0xDF, 0xA3, ..] => "a video",
        [b'P', b'K', 3 | 5, 4 | 6, ..] => "a ZIP archive",
        [0x1F, 0x8B, ..] => "a gzip archive",
        [0xFF, 0x0A, ..] | [0, 0, 0, 0x0C, b'J', b'X', b'L', b' ', ..] => "a JPEG XL image",
        [0, 0, 0, 0x0C, b'j', b'P', b' ', b' ', ..] => "a JPEG 2000 image",
        _ => match text {
            t if t.starts_with("<svg") => "an SVG drawing",
            t if t.starts_with("<!doctype html") || t.starts_with("<html") => "a web page",
            t if t.starts_with('<') => "an XML document",
            t if t.starts_with("data:image") => "a data URL; decode its base64 first",
            t if t.starts_with('{') || t.starts_with('[') => "JSON",
            t if !t.is_empty() => "plain text",
            _ => "no known image",
        },
    }
}
