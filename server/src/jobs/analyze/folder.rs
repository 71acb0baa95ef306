//! Folders of this machine that jobs may read: those that were listed, and what is below them. Links are not followed, and
//! what is read is a file that lies there when it is read, whatever was there when it was looked for.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::error::{ApiError, ApiResult, Code};

/// Most images of one job.
pub(super) const MAX_IMAGES: usize = 100_000;
/// Most folders within folders.
const MAX_DEPTH: usize = 32;
/// Endings of files that are taken for images.
const ENDINGS: [&str; 10] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// A folder that a client names, without links in it, if it is one of `allowed` or below one.
///
/// # Errors
/// None is allowed, or not this one. Whether there is something elsewhere is not told.
pub(super) fn open(allowed: &[PathBuf], asked: &str) -> ApiResult<PathBuf> {
    if allowed.is_empty() {
        let detail = "this server takes no photos from folders; its operator can list some with --job-folders";
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    let refused = || {
        let detail = "the folder is none of those that this server takes photos from, and none below them; give its whole \
                      path";
        ApiError::new(Code::Forbidden, detail)
    };
    let path = Path::new(asked);
    if !path.is_absolute() {
        return Err(refused());
    }
    let folder = fs::canonicalize(path).map_err(|_| refused())?;
    let inside = |root: &PathBuf| fs::canonicalize(root).is_ok_and(|root| folder.starts_with(root));
    if allowed.iter().any(inside) && folder.is_dir() { Ok(folder) } else { Err(refused()) }
}

/// The files below a folder that look like images, as paths relative to it with `/` between their parts, in the order of
/// names, each folder's files where its name stands. Hidden entries and links are left out.
///
/// # Errors
/// Too many; a folder that cannot be read.
pub(super) fn list(folder: &Path) -> ApiResult<Vec<String>> {
    let mut found = Vec::new();
    walk(folder, "", 0, &mut found)?;
    Ok(found)
}

fn walk(folder: &Path, below: &str, depth: usize, found: &mut Vec<String>) -> ApiResult<()> {
    if depth > MAX_DEPTH {
        return Err(ApiError::invalid(format!("the folder has more than {MAX_DEPTH} folders within each other")));
    }
    let unreadable = |error: io::Error| {
        tracing::debug!(%error, "a folder of a job cannot be read");
        ApiError::invalid("the folder, or one below it, cannot be read by the server")
    };
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut entries = entries.map_err(unreadable)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        // A name that is no Unicode stays in the list, so that it is told that it was not read.
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(unreadable)?;
        let path = format!("{below}{name}");
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), depth + 1, found)?;
        } else if kind.is_file() && looks_like_an_image(&name) {
            if found.len() == MAX_IMAGES {
                let detail = format!("the folder has more than {MAX_IMAGES} images; analyse its subfolders one by one");
                return Err(ApiError::new(Code::PayloadTooLarge, detail));
            }
            found.push(path);
        }
    }
    Ok(())
}

fn looks_like_an_image(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// A file of the list. `folder` has no links in it.
///
/// # Errors
/// It is gone, a link or no file any more, too large, or cannot be read.
pub(super) fn read(folder: &Path, item: &str, limit: u64) -> ApiResult<Vec<u8>> {
    let gone = |error: io::Error| {
        tracing::debug!(%error, "a file of a job cannot be read");
        ApiError::new(Code::SourceUnavailable, "the file is not in the folder any more, or the server cannot read it")
    };
    let path = folder.join(item);
    // Before it is opened: opening something else than a file may wait for ever.
    if !fs::symlink_metadata(&path).map_err(gone)?.is_file() {
        return Err(gone(io::Error::other("it is no file")));
    }
    let file = File::open(&path).map_err(gone)?;
    if !lies_in(&file, &path, folder).map_err(gone)? {
        return Err(gone(io::Error::other("it is a link, or lies behind one")));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(gone)?;
    if bytes.len() as u64 > limit {
        let detail = format!("the file is larger than the {limit} bytes allowed for one image");
        return Err(ApiError::new(Code::PayloadTooLarge, detail));
    }
    Ok(bytes)
}

/// Whether an open file is the one at `path`, without any link on the way there from `folder`. Looked at after it was
/// opened: what is put in its place later changes nothing about the file.
fn lies_in(file: &File, path: &Path, folder: &Path) -> io::Result<bool> {
    let there = fs::symlink_metadata(path)?;
    let opened = file.metadata()?;
    #[cfg(unix)]
    let same = {
        use std::os::unix::fs::MetadataExt;
        (there.dev(), there.ino()) == (opened.dev(), opened.ino())
    };
    #[cfg(not(unix))]
    let same = there.len() == opened.len();
    Ok(same && opened.is_file() && fs::canonicalize(path)? == path && path.starts_with(folder))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let temporary = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(temporary.path()).unwrap();
        for (path, content) in [
            ("photos/b/2.JPG", "two"),
            ("photos/a.png", "one"),
            ("photos/b/notes.txt", "no image"),
            ("photos/.hidden.jpg", "hidden"),
            ("photos/c.jpg", "three"),
            ("photos-private/secret.jpg", "secret"),
        ] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), content).unwrap();
        }
        symlink(root.join("photos-private"), root.join("photos/link")).unwrap();
        symlink(root.join("photos-private/secret.jpg"), root.join("photos/d.jpg")).unwrap();
        (temporary, root)
    }

    #[test]
    fn only_listed_folders_are_opened_and_what_is_below_them() {
        let (_kept, root) = folder();
        let allowed = [root.join("photos")];
        let opened = |path: &str| open(&allowed, path);
        let at = |path: &str| root.join(path).to_str().unwrap().to_owned();
        assert_eq!(opened(&at("photos")).unwrap(), root.join("photos"));
        assert_eq!(opened(&at("photos/../photos/b/")).unwrap(), root.join("photos/b"));
        let mut told = Vec::new();
        for outside in [
            at(""),
            at("photos/.."),
            at("photos/../photos-private"),
            at("photos-private"),
            at("photos/link"),
            at("photos/nowhere"),
            at("nowhere"),
            at("photos/c.jpg"),
            "photos".to_owned(),
            "/".to_owned(),
            "/etc".to_owned(),
            "/proc/self/cwd".to_owned(),
            String::new(),
            "/\0".to_owned(),
        ] {
            told.push(opened(&outside).unwrap_err());
        }
        assert!(told.iter().all(|error| *error == told[0]), "one can be told from another: {told:?}");
        assert!(open(&[], &at("photos")).unwrap_err().detail.contains("--job-folders"));
    }

    #[test]
    fn files_come_in_the_order_of_names_without_links() {
        let (_kept, root) = folder();
        assert_eq!(list(&root.join("photos")).unwrap(), ["a.png", "b/2.JPG", "c.jpg"]);
    }

    #[test]
    fn what_is_read_lies_there() {
        let (_kept, root) = folder();
        let photos = root.join("photos");
        assert_eq!(read(&photos, "b/2.JPG", 100).unwrap(), b"two");
        assert_eq!(read(&photos, "c.jpg", 5).unwrap(), b"three");
        assert_eq!(read(&photos, "c.jpg", 4).unwrap_err().code, Code::PayloadTooLarge);
        for elsewhere in [
            "d.jpg",
            "link/secret.jpg",
            "../photos-private/secret.jpg",
            "b/../../photos-private/secret.jpg",
            "gone.jpg",
            "b",
        ] {
            assert_eq!(read(&photos, elsewhere, 100).unwrap_err().code, Code::SourceUnavailable, "{elsewhere}");
        }
        // A folder that is replaced by a link after the files were listed.
        fs::rename(photos.join("b"), photos.join("was-b")).unwrap();
        fs::create_dir(root.join("outside")).unwrap();
        fs::write(root.join("outside/2.JPG"), "secret").unwrap();
        symlink(root.join("outside"), photos.join("b")).unwrap();
        assert_eq!(read(&photos, "b/2.JPG", 100).unwrap_err().code, Code::SourceUnavailable);
    }
}
