//! What clients send: photos of `tests/images`, broken files, and images near the limit of pixels.

use std::{fs, io::Cursor, path::Path};

use anyhow::Context;
use image::{DynamicImage, ImageFormat, RgbImage, imageops};

/// Photos with exactly one face.
pub const ONE_FACE: [&str; 3] = ["portrait.jpg", "portrait_2.jpg", "grey.jpg"];
/// Side of a square image that is just below 50 million pixels, the server's own limit.
const JUST_BELOW: u32 = 7071;
/// Side of one that is just above.
const JUST_ABOVE: u32 = 7072;

/// The files, read and made once.
pub struct Photos {
    /// As [`ONE_FACE`] names them.
    pub faces: Vec<Vec<u8>>,
    /// Five faces.
    pub group: Vec<u8>,
    /// None.
    pub no_face: Vec<u8>,
    /// What no decoder takes, with what each is.
    pub bad: Vec<(&'static str, Vec<u8>)>,
    /// One face in an image just below the limit of pixels, as PNG and JPEG.
    pub huge: Vec<Vec<u8>>,
    /// Just above the limit, and one that lies about its size.
    pub too_large: Vec<Vec<u8>>,
}

impl Photos {
    /// Reads and makes them; the huge ones only if `huge`, because they take seconds.
    ///
    /// # Errors
    /// A photo of `tests/images` cannot be read.
    pub fn new(huge: bool) -> anyhow::Result<Self> {
        let faces = ONE_FACE.iter().map(|name| photo(name)).collect::<anyhow::Result<Vec<_>>>()?;
        let (portrait, group) = (faces[0].clone(), photo("group.jpg")?);
        let png = encoded(&image::load_from_memory(&portrait)?.to_rgb8(), ImageFormat::Png)?;
        let bad = vec![
            ("cut off", group[..group.len() / 3].to_vec()),
            ("damaged", damaged(&group)),
            ("a PNG cut off", png[..png.len() / 2].to_vec()),
            ("no image", b"just some text\n".repeat(200)),
            ("empty", Vec::new()),
            ("a head alone", portrait[..20].to_vec()),
        ];
        let (mut below, mut above) = (Vec::new(), vec![facesocial_tests::png::black_png(60_000, 60_000, 16)]);
        if huge {
            let (fits, refused) = (large(&portrait, JUST_BELOW)?, large(&portrait, JUST_ABOVE)?);
            below = vec![encoded(&fits, ImageFormat::Png)?, encoded(&fits, ImageFormat::Jpeg)?];
            above.push(encoded(&refused, ImageFormat::Png)?);
        }
        Ok(Self { no_face: photo("no_face.jpg")?, faces, group, bad, huge: below, too_large: above })
    }

    /// A photo with one face, another file for each `n`: what follows the end of a JPEG is not read.
    pub fn variant(&self, n: usize) -> Vec<u8> {
        [&self.faces[n % self.faces.len()][..], format!("variant {n}").as_bytes()].concat()
    }
}

fn photo(name: &str) -> anyhow::Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images").join(name);
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The same length, and bytes in the middle that say something else.
fn damaged(jpeg: &[u8]) -> Vec<u8> {
    let mut bytes = jpeg.to_vec();
    let from = 200.min(bytes.len());
    // Tables and frame header are among them.
    for byte in bytes.iter_mut().skip(from).take(400) {
        *byte ^= 0x5a;
    }
    bytes
}

/// A portrait in the middle of a slow gradient.
fn large(portrait: &[u8], side: u32) -> anyhow::Result<RgbImage> {
    let portrait = image::load_from_memory(portrait)?.resize(1600, 1600, imageops::FilterType::Triangle).to_rgb8();
    let mut image = RgbImage::from_fn(side, side, |x, y| image::Rgb([(x / 64) as u8, (y / 64) as u8, 96]));
    let middle = i64::from(side / 2 - portrait.width() / 2);
    imageops::replace(&mut image, &portrait, middle, middle);
    Ok(image)
}

fn encoded(image: &RgbImage, format: ImageFormat) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(image.clone()).write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}
