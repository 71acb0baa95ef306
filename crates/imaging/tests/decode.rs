//! Decoding: every format, every way a file can be wrong. All files but the photos are built here.

use std::{fs, io::Cursor, path::PathBuf, time::Instant};

use facesocial_imaging::{Format, ImageError, Limits, Photo, RgbImage, decode, encode_jpeg};
use image::{DynamicImage, ImageFormat, Luma, LumaA, Rgb, Rgba};

const FORMATS: [(Format, ImageFormat); 6] = [
    (Format::Jpeg, ImageFormat::Jpeg),
    (Format::Png, ImageFormat::Png),
    (Format::WebP, ImageFormat::WebP),
    (Format::Bmp, ImageFormat::Bmp),
    (Format::Gif, ImageFormat::Gif),
    (Format::Tiff, ImageFormat::Tiff),
];

/// Four quarters: red, green / blue, white.
fn quarters(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| match (x < width / 2, y < height / 2) {
        (true, true) => Rgb([220, 10, 10]),
        (false, true) => Rgb([10, 220, 10]),
        (true, false) => Rgb([10, 10, 220]),
        (false, false) => Rgb([250, 250, 250]),
    })
}

/// Texture that no compression takes away.
fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = 1u32;
    RgbImage::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [a, b, c, _] = state.to_be_bytes();
        Rgb([a, b, c])
    })
}

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.into().write_to(&mut out, format).unwrap();
    out.into_inner()
}

fn read(bytes: &[u8]) -> Result<Photo, ImageError> {
    decode(bytes, &Limits::default())
}

fn photo(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/images").join(name)).unwrap()
}

fn near(a: Rgb<u8>, b: [u8; 3], by: u8) -> bool {
    a.0.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= by)
}

/// Puts an EXIF block with only an orientation behind a JPEG's first marker.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut out = jpeg[..2].to_vec();
    out.extend([0xFF, 0xE1, 0, 34]);
    out.extend(b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0");
    out.extend([orientation, 0, 0, 0, 0, 0, 0]);
    out.extend(&jpeg[2..]);
    out
}

/// A PNG of this size whose pixels are missing.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut png = encode(quarters(8, 8), ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
    })
}

#[test]
fn every_format_is_told_from_its_bytes_and_keeps_its_pixels() {
    let source = quarters(40, 24);
    for (format, encoder) in FORMATS {
        let bytes = encode(source.clone(), encoder);
        let got = read(&bytes).unwrap_or_else(|e| panic!("{format}: {e}"));
        assert_eq!((got.format, got.source_bytes, got.image.dimensions()), (format, bytes.len(), (40, 24)));
        for (x, y) in [(4, 4), (35, 4), (4, 19), (35, 19)] {
            assert!(near(*got.image.get_pixel(x, y), source.get_pixel(x, y).0, 12), "{format} at {x},{y}");
        }
    }
}

#[test]
fn grey_alpha_and_deep_pictures_become_rgb() {
    let size = (16, 16);
    let cases: Vec<(&str, DynamicImage, [u8; 3])> = vec![
        ("grey", image::GrayImage::from_pixel(size.0, size.1, Luma([90])).into(), [90; 3]),
        (
            "16-bit",
            image::ImageBuffer::from_pixel(size.0, size.1, Rgb([40_000u16, 20_000, 60_000])).into(),
            [156, 78, 233],
        ),
        ("transparent", image::RgbaImage::from_pixel(size.0, size.1, Rgba([200, 0, 0, 0])).into(), [255; 3]),
        (
            "half transparent",
            image::RgbaImage::from_pixel(size.0, size.1, Rgba([0, 100, 200, 128])).into(),
            [127, 177, 227],
        ),
        ("grey with alpha", image::GrayAlphaImage::from_pixel(size.0, size.1, LumaA([50, 255])).into(), [50; 3]),
    ];
    for (name, picture, want) in cases {
        let got = read(&encode(picture, ImageFormat::Png)).unwrap();
        assert!(near(*got.image.get_pixel(7, 7), want, 1), "{name}: {:?}", got.image.get_pixel(7, 7));
    }
}

#[test]
fn cmyk_jpegs_become_rgb() {
    // 16 x 16, quality 95, one colour: Pillow's CMYK (255, 0, 0, 0), (0, 128, 255, 51) in Adobe's inverted form, and
    // the second with its Adobe transform set to YCCK; the colours are those of Pillow.
    for (file, want) in [
        (&include_bytes!("data/cmyk_cyan.jpg")[..], [0, 255, 255]),
        (&include_bytes!("data/cmyk_orange.jpg")[..], [204, 102, 0]),
        (&include_bytes!("data/ycck.jpg")[..], [143, 0, 2]),
    ] {
        let got = read(file).unwrap();
        assert!(near(*got.image.get_pixel(8, 8), want, 3), "{:?} is not {want:?}", got.image.get_pixel(8, 8));
    }
}

#[test]
fn all_eight_exif_orientations_end_upright() {
    let upright = quarters(48, 32);
    let image = DynamicImage::from(upright.clone());
    // What a camera stores for each orientation: the inverse of the turn the viewer has to make.
    let stored = [
        image.clone(),
        image.fliph(),
        image.rotate180(),
        image.flipv(),
        image.rotate90().fliph(),
        image.rotate270(),
        image.rotate270().fliph(),
        image.rotate90(),
    ];
    for (i, picture) in stored.into_iter().enumerate() {
        let orientation = i as u8 + 1;
        let got = read(&with_orientation(&encode_jpeg(&picture.into_rgb8(), 95), orientation)).unwrap();
        assert_eq!(got.image.dimensions(), (48, 32), "orientation {orientation}");
        for (x, y) in [(6, 6), (40, 6), (6, 26), (40, 26)] {
            let (got, want) = (got.image.get_pixel(x, y), upright.get_pixel(x, y));
            assert!(near(*got, want.0, 12), "orientation {orientation} at {x},{y}: {got:?} is not {want:?}");
        }
    }
    // An orientation that does not exist changes nothing.
    assert_eq!(read(&with_orientation(&encode_jpeg(&upright, 95), 9)).unwrap().image.dimensions(), (48, 32));
}

#[test]
fn turned_photos_equal_each_other_when_upright() {
    let [a, b, c] = [3, 6, 8].map(|o| read(&photo(&format!("rotated_exif_{o}.jpg"))).unwrap().image);
    assert_eq!(a.dimensions(), (320, 280));
    for other in [b, c] {
        assert_eq!(a.dimensions(), other.dimensions());
        let gap: f64 = a.iter().zip(other.iter()).map(|(x, y)| f64::from(x.abs_diff(*y))).sum::<f64>() / a.len() as f64;
        assert!(gap < 3.0, "mean difference {gap}");
    }
}

#[test]
fn files_cut_off_anywhere_are_errors() {
    for (format, encoder) in FORMATS {
        let bytes = encode(noise(64, 48), encoder);
        for percent in [1, 5, 20, 50, 80, 95, 99] {
            let cut = &bytes[..(bytes.len() * percent / 100).max(1)];
            assert!(read(cut).is_err(), "{format} cut to {percent} % was decoded");
        }
    }
    let portrait = photo("portrait.jpg");
    match read(&portrait[..portrait.len() / 2]) {
        Err(ImageError::Truncated { format: Format::Jpeg, given }) => assert_eq!(given, portrait.len() / 2),
        other => panic!("half a JPEG gave {other:?}"),
    }
}

#[test]
fn damaged_files_never_panic() {
    let mut state = 7u32;
    for (_, encoder) in FORMATS {
        let bytes = encode(noise(24, 24), encoder);
        for _ in 0..150 {
            let mut damaged = bytes.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (state >> 8) as usize % damaged.len();
                damaged[at] = state as u8;
            }
            // Either answer is right; what must not happen is a panic or a picture over the limits.
            if let Ok(photo) = decode(&damaged, &Limits::default().with_max_pixels(1 << 20)) {
                assert!(photo.image.width() * photo.image.height() <= 1 << 20);
            }
        }
    }
}

#[test]
fn limits_are_checked_before_pixels_are_decoded() {
    let limits = Limits::default();
    let started = Instant::now();
    assert!(matches!(read(&[]), Err(ImageError::Empty)));
    assert!(matches!(
        decode(&[0; 101], &limits.with_max_bytes(100)),
        Err(ImageError::TooManyBytes { given: 101, allowed: 100 })
    ));
    assert!(matches!(
        read(&png_header(30_000, 30_000)),
        Err(ImageError::TooManyPixels { width: 30_000, height: 30_000, allowed: 50_000_000 })
    ));
    // The decoder itself finds this one absurd.
    assert!(read(&png_header(2_000_000_000, 2_000_000_000)).is_err());
    assert!(matches!(read(&png_header(100_000, 1)), Err(ImageError::SideTooLong { width: 100_000, .. })));
    assert!(matches!(read(&png_header(1000, 7)), Err(ImageError::TooSmall { height: 7, required: 8, .. })));
    for (format, encoder) in FORMATS {
        let bytes = encode(quarters(200, 100), encoder);
        let refused = decode(&bytes, &limits.with_max_pixels(19_999));
        assert!(matches!(refused, Err(ImageError::TooManyPixels { width: 200, height: 100, .. })), "{format}");
        assert!(decode(&bytes, &limits.with_max_pixels(20_000)).is_ok(), "{format}");
    }
    // Decoding one of these bombs alone would take longer and gigabytes.
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn a_header_larger_than_its_pixels_fails_cheaply() {
    let started = Instant::now();
    assert!(matches!(read(&png_header(7000, 7000)), Err(ImageError::Corrupt { format: Format::Png, .. })));
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn other_files_are_named_in_the_error() {
    for (bytes, name) in [
        (&b"%PDF-1.7 ..."[..], "a PDF document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC photo"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "an AVIF image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (b"PK\x03\x04......", "a ZIP archive"),
        (b"  <!DOCTYPE html><html>", "a web page"),
        (b"<svg xmlns=''/>", "an SVG drawing"),
        (b"data:image/png;base64,AAAA", "a data URL"),
        (b"{\"a\": 1}", "JSON"),
        (b"hello", "plain text"),
        (b"\x01\x02\xFF\xFE", "no known image"),
        ("grüße".repeat(20).as_bytes(), "plain text"),
    ] {
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, ImageError::UnsupportedFormat { .. }));
        let message = error.to_string();
        assert!(message.contains(name) && message.contains("JPEG, PNG, WebP"), "{message}");
    }
}

#[test]
fn the_test_photos_decode() {
    for (name, size) in [
        ("portrait.jpg", (512, 512)),
        ("portrait_2.jpg", (512, 600)),
        ("group.jpg", (1200, 874)),
        ("profile.jpg", (540, 700)),
        ("no_face.jpg", (600, 400)),
        ("tiny_faces.jpg", (480, 360)),
        ("grey.jpg", (512, 512)),
    ] {
        assert_eq!(read(&photo(name)).unwrap().image.dimensions(), size, "{name}");
    }
    let grey = read(&photo("grey.jpg")).unwrap().image;
    assert!(grey.pixels().all(|p| p.0[0] == p.0[1] && p.0[1] == p.0[2]));
}
