//! From the paths of a command line to images.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use facesocial_imaging::Limits;
use facesocial_pipeline::on_pool;
use image::RgbImage;

/// A path that leads to no image, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadInput {
    /// As given.
    pub path: PathBuf,
    /// Sentence for a person.
    pub reason: String,
}

/// One thing to analyse, or the reason why it cannot be.
pub type Input = Result<PathBuf, BadInput>;

/// Files and folders to files. A named file is taken as it is; of a folder, searched with its subfolders in the order
/// of names, the files that look like images. Hidden entries of a folder and links to folders are left out.
pub fn collect(paths: &[PathBuf]) -> Vec<Input> {
    let mut inputs = Vec::new();
    for path in paths {
        let bad = |reason: String| BadInput { path: path.clone(), reason };
        match fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => inputs.push(Err(bad("no such file or folder".to_owned()))),
            Err(e) => inputs.push(Err(bad(e.to_string()))),
            Ok(meta) if meta.is_dir() => {
                let before = inputs.len();
                walk(path, &mut inputs);
                if inputs.len() == before {
                    inputs.push(Err(bad("the folder holds no images".to_owned())));
                }
            }
            Ok(_) => inputs.push(Ok(path.clone())),
        }
    }
    inputs
}

fn walk(dir: &Path, inputs: &mut Vec<Input>) {
    let entries = fs::read_dir(dir).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(e) => return inputs.push(Err(BadInput { path: dir.to_owned(), reason: e.to_string() })),
    };
    entries.sort_by_key(|e| e.file_name());
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&path, inputs),
            // A link to a folder is not followed: it may lead back up.
            Ok(_) if path.is_file() && looks_like_image(&path) => inputs.push(Ok(path)),
            _ => {}
        }
    }
}

/// Whether the name ends as images do or the content begins as images do. The name counts so that a damaged image is
/// reported and not passed over.
fn looks_like_image(path: &Path) -> bool {
    const ENDINGS: [&str; 9] = ["jpg", "jpeg", "jpe", "png", "webp", "bmp", "gif", "tif", "tiff"];
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    if ending.is_some_and(|e| ENDINGS.contains(&e.as_str())) {
        return true;
    }
    let mut head = Vec::with_capacity(16);
    let read = File::open(path).and_then(|f| f.take(16).read_to_end(&mut head));
    read.is_ok() && image::guess_format(&head).is_ok_and(|format| format.reading_enabled())
}

/// Reads and decodes a photo within the default limits.
///
/// # Errors
/// The file cannot be read, is too large, or is no image.
pub fn read_image(path: &Path) -> anyhow::Result<RgbImage> {
    decode(&read_bytes(path)?)
}

/// Decodes a photo within the default limits.
///
/// # Errors
/// It is too large, or is no image.
pub fn decode(bytes: &[u8]) -> anyhow::Result<RgbImage> {
    Ok(on_pool(|| facesocial_imaging::decode(bytes, &Limits::default()))?.image)
}

/// Reads the file of a photo.
///
/// # Errors
/// The file cannot be read.
pub fn read_bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let limits = Limits::default();
    let file = File::open(path).context("cannot open the file")?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        bail!("this is a folder; an image is needed");
    }
    // One byte over the limit is enough for the decoder to refuse, whatever the size of the file.
    let mut bytes = Vec::new();
    file.take(limits.max_bytes as u64 + 1).read_to_end(&mut bytes).context("cannot read the file")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png() -> Vec<u8> {
        facesocial_imaging::encode_png(&RgbImage::from_pixel(16, 12, image::Rgb([9, 9, 9])))
    }

    #[test]
    fn folders_are_searched_in_order_and_other_files_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        fs::create_dir_all(file("b/c")).unwrap();
        fs::write(file("b/c/nameless"), png()).unwrap();
        fs::write(file("b/broken.JPG"), "no image").unwrap();
        fs::write(file("a.png"), png()).unwrap();
        fs::write(file("notes.txt"), "text").unwrap();
        fs::write(file(".hidden.png"), png()).unwrap();
        let found: Vec<PathBuf> = collect(&[dir.path().to_owned()]).into_iter().map(Result::unwrap).collect();
        assert_eq!(found, [file("a.png"), file("b/broken.JPG"), file("b/c/nameless")]);
    }

    #[test]
    fn a_named_file_is_taken_and_what_is_absent_or_empty_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("notes.txt");
        fs::write(&text, "text").unwrap();
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let absent = dir.path().join("absent.jpg");
        let found = collect(&[text.clone(), empty.clone(), absent.clone()]);
        assert_eq!(found[0], Ok(text.clone()));
        assert_eq!(found[1], Err(BadInput { path: empty, reason: "the folder holds no images".to_owned() }));
        assert_eq!(found[2], Err(BadInput { path: absent, reason: "no such file or folder".to_owned() }));
        assert!(read_image(&text).unwrap_err().to_string().contains("unsupported image format"));
    }

    #[test]
    fn a_photo_is_read_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("photo.jpg");
        fs::write(&path, png()).unwrap();
        assert_eq!(read_image(&path).unwrap().dimensions(), (16, 12));
        assert!(read_image(dir.path()).unwrap_err().to_string().contains("folder"));
    }

    #[test]
    fn a_file_over_the_limit_is_refused_without_reading_it_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge.jpg");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read_image(&path).unwrap_err().to_string().contains("bytes"));
    }
}
