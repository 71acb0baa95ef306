//! ZIP archives of photos, `person/photo.jpg`, read one entry after the other within limits. Nothing is unpacked to disk.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufReader, Read},
    ops::ControlFlow,
    path::Path,
};

use zip::{
    ZipReadOptions,
    read::{Config, ZipFileEntry},
    result::ZipError,
    // The reader that keeps no list of all entries: an archive of a gigabyte may claim twenty million of them.
    unstable::read::ZipIterable,
};

use super::place::{self, Place};
use crate::error::{ApiError, Code};

/// What an archive may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Entries, folders included.
    pub entries: u64,
    /// Bytes of one photo.
    pub photo_bytes: u64,
    /// Bytes of all photos together, uncompressed.
    pub total_bytes: u64,
    /// Bytes of all photos together for each byte of the archive.
    pub ratio: u64,
}

impl ArchiveLimits {
    /// For archives of up to `archive_bytes` with photos of up to `photo_bytes`.
    pub fn new(archive_bytes: u64, photo_bytes: u64) -> Self {
        // Photos are compressed already; bitmaps shrink to a tenth at best. What shrinks more was made to do harm.
        Self { entries: 10_000, photo_bytes, total_bytes: archive_bytes.saturating_mul(4), ratio: 50 }
    }
}

/// What the folders of an archive stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Persons: `person/photo.jpg`.
    Persons,
    /// Nothing: photos lie anywhere.
    Any,
}

/// Why an archive is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not a ZIP archive, or cut off.
    #[error("the file is no ZIP archive, or was cut off; send photos in a ZIP archive")]
    NotZip,
    /// More entries than allowed.
    #[error("the archive has {found} entries; at most {allowed} are taken at once")]
    TooManyEntries {
        /// In the archive.
        found: u64,
        /// Allowed.
        allowed: u64,
    },
    /// More bytes than allowed once uncompressed.
    #[error("the archive unpacks to more than {allowed} bytes; send it in parts")]
    TooLarge {
        /// Allowed.
        allowed: u64,
    },
    /// The list of entries cannot be read to its end.
    #[error("the archive's list of entries is damaged")]
    Damaged,
    /// The archive cannot be read from disk.
    #[error("the archive cannot be read back")]
    Io(#[source] io::Error),
}

impl From<ArchiveError> for ApiError {
    fn from(error: ArchiveError) -> Self {
        let code = match &error {
            ArchiveError::NotZip => Code::UnsupportedFormat,
            ArchiveError::TooManyEntries { .. } | ArchiveError::TooLarge { .. } => Code::PayloadTooLarge,
            ArchiveError::Damaged => Code::MalformedBody,
            ArchiveError::Io(_) => return Self::internal(&error),
        };
        Self::new(code, error.to_string())
    }
}

impl ArchiveError {
    fn of(error: ZipError) -> Self {
        match error {
            ZipError::Io(e) if !is_damage(&e) => Self::Io(e),
            _ => Self::NotZip,
        }
    }
}

/// What the list of entries tells before anything is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// Photos to enrol.
    pub photos: u64,
    /// Entries that are refused for their path or kind.
    pub refused: u64,
}

/// Looks through the list of entries.
///
/// # Errors
/// The archive is refused as a whole.
pub fn survey(path: &Path, limits: &ArchiveLimits, layout: Layout) -> Result<Survey, ArchiveError> {
    let mut archive = Archive::open(path, limits)?;
    let (mut found, mut declared) = (Survey { photos: 0, refused: 0 }, 0u64);
    for entry in archive.entries.files().map_err(ArchiveError::of)? {
        let entry = entry.map_err(|_| ArchiveError::Damaged)?;
        match sort(&entry, layout) {
            Sorted::Photo { .. } => {
                found.photos += 1;
                declared = declared.saturating_add(entry.size().min(limits.photo_bytes));
            }
            Sorted::Refused { .. } => found.refused += 1,
            Sorted::Ignored => {}
        }
    }
    if declared > archive.total { Err(ArchiveError::TooLarge { allowed: archive.total }) } else { Ok(found) }
}

/// How far an archive has been read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// Entries that are done.
    pub entries: u64,
    /// Bytes unpacked for them.
    pub bytes: u64,
}

/// One entry that asks for an answer.
#[derive(Debug)]
pub struct Entry {
    /// Where the archive stands once this entry is done.
    pub after: Cursor,
    /// Its path, fit to be shown.
    pub path: String,
    /// The photo, or why the entry is refused.
    pub photo: Result<Photo, ApiError>,
}

/// A photo of an archive.
#[derive(Debug)]
pub struct Photo {
    /// Name of its folder; empty where folders say nothing.
    pub person: String,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Hands every photo and every refused entry after `from` to `each`, in the archive's order, until that breaks.
///
/// # Errors
/// The archive is refused as a whole; what was handed over before stays so.
pub fn walk(
    path: &Path,
    limits: &ArchiveLimits,
    layout: Layout,
    from: Cursor,
    mut each: impl FnMut(Entry) -> ControlFlow<()>,
) -> Result<(), ArchiveError> {
    let mut archive = Archive::open(path, limits)?;
    let mut at = from;
    let done = usize::try_from(from.entries).unwrap_or(usize::MAX);
    for entry in archive.entries.files().map_err(ArchiveError::of)?.skip(done) {
        let entry = entry.map_err(|_| ArchiveError::Damaged)?;
        at.entries += 1;
        let (path, photo) = match sort(&entry, layout) {
            Sorted::Ignored => continue,
            Sorted::Refused { path, error } => (path, Err(error)),
            Sorted::Photo { path, person } => {
                // What an entry declares may be a lie; what comes out of it counts.
                let (photo, unpacked) = unpack(entry, &mut archive.bodies, limits.photo_bytes)?;
                at.bytes = at.bytes.saturating_add(unpacked);
                if at.bytes > archive.total {
                    return Err(ArchiveError::TooLarge { allowed: archive.total });
                }
                (path, photo.map(|bytes| Photo { person, bytes }))
            }
        };
        if each(Entry { after: at, path, photo }).is_break() {
            break;
        }
    }
    Ok(())
}

struct Archive {
    entries: ZipIterable<BufReader<File>>,
    /// A second reader, so that photos do not disturb the walk through the list.
    bodies: BufReader<File>,
    /// Most bytes that may be unpacked.
    total: u64,
}

impl Archive {
    fn open(path: &Path, limits: &ArchiveLimits) -> Result<Self, ArchiveError> {
        let open = || File::open(path).map_err(ArchiveError::Io);
        let length = open()?.metadata().map_err(ArchiveError::Io)?.len();
        let entries = ZipIterable::try_new(BufReader::new(open()?), Config::default()).map_err(ArchiveError::of)?;
        let found = entries.len() as u64;
        if found > limits.entries {
            return Err(ArchiveError::TooManyEntries { found, allowed: limits.entries });
        }
        let total = limits.total_bytes.min(length.saturating_mul(limits.ratio));
        Ok(Self { entries, bodies: BufReader::new(open()?), total })
    }
}

enum Sorted {
    Photo { path: String, person: String },
    Ignored,
    Refused { path: String, error: ApiError },
}

fn sort(entry: &ZipFileEntry<'_>, layout: Layout) -> Sorted {
    let name = entry.name().unwrap_or_else(|_| String::from_utf8_lossy(entry.name_raw()).into_owned().into());
    let path = place::shown(&name);
    let refuse = |reason: Cow<'static, str>| Sorted::Refused { path: path.clone(), error: ApiError::invalid(reason) };
    let place = match layout {
        Layout::Persons => place::of(&name),
        Layout::Any => place::anywhere(&name),
    };
    match place {
        Place::Ignored => Sorted::Ignored,
        Place::Refused(reason) => refuse(reason.into()),
        Place::Photo { .. } if entry.is_symlink() => refuse("a link is no photo".into()),
        Place::Photo { .. } if entry.encrypted() => refuse("the entry is encrypted; send it without a password".into()),
        Place::Photo { person, .. } => Sorted::Photo { path, person: person.to_owned() },
    }
}

/// The bytes of one entry, or why it has none; and how many were unpacked either way. The outer error ends the whole
/// archive.
fn unpack(
    entry: ZipFileEntry<'_>,
    bodies: &mut BufReader<File>,
    limit: u64,
) -> Result<(Result<Vec<u8>, ApiError>, u64), ArchiveError> {
    let too_large = || {
        let detail = format!("the file is larger than the {limit} bytes allowed for one image");
        Err(ApiError::new(Code::PayloadTooLarge, detail))
    };
    let damaged = || {
        let detail = "the entry is damaged: it cannot be unpacked to what the archive says";
        Err(ApiError::new(Code::CorruptImage, detail))
    };
    if entry.size() > limit {
        return Ok((too_large(), 0));
    }
    let file = match entry.with_reader(bodies, ZipReadOptions::new()) {
        Ok(file) => file,
        Err(ZipError::Io(e)) if !is_damage(&e) => return Err(ArchiveError::Io(e)),
        Err(ZipError::CompressionMethodNotSupported(_) | ZipError::UnsupportedArchive(_)) => {
            return Ok((Err(ApiError::invalid("the entry is compressed by another method than deflate")), 0));
        }
        Err(_) => return Ok((damaged(), 0)),
    };
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    let unpacked = bytes.len() as u64;
    match read {
        Ok(_) if unpacked > limit => Ok((too_large(), unpacked)),
        Ok(_) => Ok((Ok(bytes), unpacked)),
        Err(e) if is_damage(&e) => Ok((damaged(), unpacked)),
        Err(e) => Err(ArchiveError::Io(e)),
    }
}

/// Whether an error speaks of the archive's bytes, not of the disk.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    use super::*;

    const LIMITS: ArchiveLimits = ArchiveLimits { entries: 10, photo_bytes: 1000, total_bytes: 3000, ratio: 50 };

    const PERSONS: Layout = Layout::Persons;

    fn archive(entries: &[(&str, &[u8])], method: CompressionMethod) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut zip = ZipWriter::new(file.reopen().unwrap());
        let options = SimpleFileOptions::default().compression_method(method);
        for (name, bytes) in entries {
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        file
    }

    fn all(file: &Path, limits: &ArchiveLimits, from: Cursor) -> Result<Vec<Entry>, ArchiveError> {
        let mut found = Vec::new();
        walk(file, limits, PERSONS, from, |entry| {
            found.push(entry);
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    #[test]
    fn photos_come_with_their_person_and_odd_paths_with_a_reason() {
        let entries: [(&str, &[u8]); 6] = [
            ("ann/1.jpg", b"one"),
            ("../../etc/passwd", b"x"),
            ("/bob/1.jpg", b"x"),
            ("__MACOSX/ann/._1.jpg", b"x"),
            ("a/b/c.jpg", b"x"),
            ("bob/1.jpg", b"other"),
        ];
        let file = archive(&entries, CompressionMethod::Stored);
        assert_eq!(survey(file.path(), &LIMITS, PERSONS).unwrap(), Survey { photos: 2, refused: 3 });
        let found = all(file.path(), &LIMITS, Cursor::default()).unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|e| (e.path.as_str(), e.photo.as_ref().map(|p| format!("{} {:?}", p.person, p.bytes.len())).ok()))
            .collect();
        let photo = |text: &str| Some(text.to_owned());
        let expected = [
            ("ann/1.jpg", photo("ann 3")),
            ("../../etc/passwd", None),
            ("/bob/1.jpg", None),
            ("a/b/c.jpg", None),
            ("bob/1.jpg", photo("bob 5")),
        ];
        assert_eq!(told, expected);
        // A resumed walk goes on after what was done.
        let rest = all(file.path(), &LIMITS, found[0].after).unwrap();
        assert_eq!(rest.len(), 4);
        assert_eq!(rest.last().unwrap().after, found.last().unwrap().after);
    }

    #[test]
    fn a_file_beyond_its_limit_is_refused_alone() {
        let file = archive(&[("ann/big.jpg", &[7; 1001]), ("ann/ok.jpg", &[7; 1000])], CompressionMethod::Stored);
        let found = all(file.path(), &LIMITS, Cursor::default()).unwrap();
        assert_eq!(found[0].photo.as_ref().unwrap_err().code, Code::PayloadTooLarge);
        assert_eq!(found[1].photo.as_ref().unwrap().bytes.len(), 1000);
    }

    #[test]
    fn an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() {
        let zeros = [0; 1000];
        let entries: Vec<(String, &[u8])> = (0..4).map(|i| (format!("ann/{i}.jpg"), &zeros[..])).collect();
        let entries: Vec<(&str, &[u8])> = entries.iter().map(|(n, b)| (n.as_str(), *b)).collect();
        let file = archive(&entries, CompressionMethod::Deflated);
        assert!(matches!(survey(file.path(), &LIMITS, PERSONS), Err(ArchiveError::TooLarge { allowed: 3000 })));
        let dense = ArchiveLimits { total_bytes: u64::MAX, ratio: 2, ..LIMITS };
        assert!(matches!(survey(file.path(), &dense, PERSONS), Err(ArchiveError::TooLarge { .. })));
        assert!(matches!(all(file.path(), &dense, Cursor::default()), Err(ArchiveError::TooLarge { .. })));
        let few = ArchiveLimits { entries: 3, ..LIMITS };
        assert!(matches!(
            survey(file.path(), &few, PERSONS),
            Err(ArchiveError::TooManyEntries { found: 4, allowed: 3 })
        ));
    }

    #[test]
    fn sizes_that_lie_do_not_get_more_unpacked() {
        let file = archive(&[("ann/1.jpg", &[0; 900_000])], CompressionMethod::Deflated);
        let mut bytes = std::fs::read(file.path()).unwrap();
        // The uncompressed size in the central directory, 24 bytes into its header, and in the local one, 22 bytes in.
        let central = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        bytes[central + 24..central + 28].copy_from_slice(&10u32.to_le_bytes());
        bytes[22..26].copy_from_slice(&10u32.to_le_bytes());
        std::fs::write(file.path(), bytes).unwrap();
        let wide = ArchiveLimits { ratio: 10_000, ..LIMITS };
        assert_eq!(survey(file.path(), &wide, PERSONS).unwrap().photos, 1);
        let found = all(file.path(), &wide, Cursor::default()).unwrap();
        assert!(found[0].photo.is_err(), "{found:?}");
    }

    #[test]
    fn damage_is_told_for_the_entry_or_for_the_whole() {
        let file =
            archive(&[("ann/1.jpg", b"some bytes of a photo"), ("bob/1.jpg", b"fine")], CompressionMethod::Stored);
        let mut bytes = std::fs::read(file.path()).unwrap();
        let at = bytes.windows(4).position(|w| w == b"some").unwrap();
        bytes[at] ^= 1;
        std::fs::write(file.path(), &bytes).unwrap();
        let found = all(file.path(), &LIMITS, Cursor::default()).unwrap();
        assert_eq!(found[0].photo.as_ref().unwrap_err().code, Code::CorruptImage);
        assert!(found[1].photo.is_ok());
        for cut in [0, 10, bytes.len() / 2, bytes.len() - 30] {
            std::fs::write(file.path(), &bytes[..cut]).unwrap();
            let told = survey(file.path(), &LIMITS, PERSONS);
            assert!(matches!(told, Err(ArchiveError::NotZip | ArchiveError::Damaged)), "{cut}: {told:?}");
        }
        std::fs::write(file.path(), "hello").unwrap();
        assert_eq!(ApiError::from(survey(file.path(), &LIMITS, PERSONS).unwrap_err()).code, Code::UnsupportedFormat);
    }
}
