//! Files that people send or write: archives of photos, tables of labels, settings.

use std::{
    cell::OnceCell,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use facesocial::{
    eval::labels::{Column, Labels},
    jobs::import::{
        ArchiveLimits,
        archive::{Cursor, Layout, survey, walk},
    },
    thresholds_file::ThresholdsFile,
};
use facesocial_convert::{lock::Lock, manifest::Manifest};
use facesocial_engine::{LOCK_FILE, WeightsLock};
use facesocial_hub::{PulledFolder, folder::SOURCES_FILE};
use tempfile::TempDir;

/// Room for files.
pub fn scratch_folder() -> TempDir {
    tempfile::tempdir().expect("the system has room for temporary files")
}

/// A file of this thread, the same for every run.
pub fn scratch(name: &str) -> PathBuf {
    thread_local! {
        static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
    }
    FOLDER.with(|folder| folder.get_or_init(scratch_folder).path().join(name))
}

/// The bytes as a file of this name.
fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch(name);
    fs::write(&path, bytes).expect("the scratch folder can be written");
    path
}

/// An archive of photos.
pub fn archive(bytes: &[u8]) {
    let path = written("photos.zip", bytes);
    let limits = ArchiveLimits { entries: 20, photo_bytes: 4096, total_bytes: 16_384, ratio: 50 };
    let most = limits.total_bytes.min(bytes.len() as u64 * limits.ratio);
    for layout in [Layout::Persons, Layout::Any] {
        let surveyed = survey(&path, &limits, layout);
        let (mut found, mut unpacked, mut last) = (0, 0, Cursor::default());
        let walked = walk(&path, &limits, layout, Cursor::default(), |entry| {
            found += 1;
            assert!(found <= limits.entries && entry.after.entries > last.entries && entry.after.bytes >= last.bytes);
            last = entry.after;
            if let Ok(photo) = &entry.photo {
                unpacked += photo.bytes.len() as u64;
                assert!(photo.bytes.len() as u64 <= limits.photo_bytes && unpacked <= most);
                let odd = ["/", "\\", ".."].iter().any(|part| photo.person.contains(part));
                assert!(!odd, "{:?} leads elsewhere", photo.person);
            }
            ControlFlow::Continue(())
        });
        // What is walked through whole was surveyed right.
        if let (Ok(()), Ok(survey)) = (walked, surveyed) {
            assert_eq!(found, survey.photos + survey.refused);
            let mut again = 0;
            let half = Cursor { entries: last.entries / 2, bytes: 0 };
            let resumed = walk(&path, &limits, layout, half, |_| {
                again += 1;
                ControlFlow::Continue(())
            });
            assert!(resumed.is_ok() && again <= found);
        }
    }
}

/// A table of labels.
pub fn labels(bytes: &[u8]) {
    const REQUIRED: &[Column] = &[&["image", "file"], &["age"]];
    const OPTIONAL: &[Column] = &[&["gender", "sex"]];
    let path = written("labels.csv", bytes);
    let Ok(labels) = Labels::read(&path, REQUIRED, OPTIONAL, None) else { return };
    let mut flags = Vec::new();
    for row in labels.rows(Some(100)) {
        let _ = (row.text(0), row.optional(2), row.group(), row.number(1), row.image(0, Path::new("/nowhere")));
        flags.extend(row.flag(2));
    }
    let _ = (labels.group_column(), labels.both(2, flags));
}

/// A file of settings; the first byte says which.
pub fn settings(bytes: &[u8]) {
    let Some((kind, text)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => {
            let path = written("thresholds.toml", text);
            if let Ok(file) = ThresholdsFile::read(&path) {
                let _ = file.chosen(&path);
                // What was read can be written and read again.
                file.write(&path).expect("the scratch folder can be written");
                ThresholdsFile::read(&path).expect("what was written can be read");
            }
        }
        1 => {
            let path = written(LOCK_FILE, text);
            let _ = WeightsLock::read(path.parent().unwrap_or(&path)).map(|lock| lock.get("mtcnn").cloned());
        }
        2 => {
            let path = written(LOCK_FILE, text);
            if let Ok(lock) = Lock::open(path.parent().unwrap_or(&path)) {
                lock.to_text().expect("a lock that was read can be written");
            }
        }
        3 => {
            let text = String::from_utf8_lossy(text);
            if let Ok(manifest) = Manifest::parse("mtcnn", &text) {
                let _ = (manifest.source_line(), manifest.source.line());
                let _ = manifest.source.published().map(|source| source.downloads().len());
            }
        }
        _ => {
            let path = written(SOURCES_FILE, text);
            let _ = PulledFolder::new(path.parent().unwrap_or(&path)).sources();
        }
    }
}
