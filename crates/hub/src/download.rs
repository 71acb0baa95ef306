//! One file from a server to the disk: resumed, repeated, limited, checked.
//!
//! The bytes go to `<file>.part`. Beside it `<file>.part.toml` names the address, the server's validator and the size,
//! so that a later run goes on where this one ended. Only a complete and checked file gets its name.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use crate::{
    disk::{self, Disk, Sink, part_of},
    error::{HubError, Result},
    http::{Answer, Ask, Client, Fault, body_fault, plain, text},
    observe::{Event, Observer},
    retry::{Retry, retry_after},
    settings::Token,
};

/// After so many new bytes the failures are counted anew.
const PROGRESS: u64 = 1 << 20;
const CHUNK: usize = 1 << 16;

/// A file on a server.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub url: Url,
    /// Sent to this host alone.
    pub token: Option<Token>,
    /// Size, if known beforehand.
    pub bytes: Option<u64>,
    /// What helps when the server refuses.
    pub advice: String,
}

/// The sha256 that a file must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The manifest says it.
    Pinned(String),
    /// The first pull recorded it.
    Recorded { network: String, sha256: String },
    /// Nobody knows it yet.
    Unknown,
}

impl Expected {
    /// Compares a digest; `removed` goes into the error.
    pub(crate) fn check(&self, what: &str, found: &str, removed: bool) -> Result<()> {
        let what = || what.to_owned();
        match self {
            Self::Pinned(expected) if expected != found => {
                Err(HubError::Digest { what: what(), expected: expected.clone(), found: found.to_owned(), removed })
            }
            Self::Recorded { network, sha256 } if sha256 != found => Err(HubError::Changed {
                network: network.clone(),
                what: what(),
                expected: sha256.clone(),
                found: found.to_owned(),
                removed,
            }),
            _ => Ok(()),
        }
    }
}

/// A file that is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub bytes: u64,
    pub sha256: String,
    /// Commit that Hugging Face took it from.
    pub commit: Option<String>,
}

/// Downloads files.
pub(crate) struct Downloader<'a> {
    pub client: &'a Client,
    pub disk: &'a dyn Disk,
    pub retry: &'a Retry,
    pub observer: &'a dyn Observer,
    /// Largest file whose size is not known beforehand.
    pub max_bytes: u64,
}

/// What is known of a part.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    url: String,
    /// Strong ETag, or the time of the last change.
    validator: String,
    total: Option<u64>,
}

/// The paths of one download.
struct Paths {
    target: PathBuf,
    part: PathBuf,
    note: PathBuf,
}

/// Why an attempt ended.
enum Stop {
    Lasting(HubError),
    Passing {
        reason: String,
        /// The server's wish.
        asked: Option<Duration>,
        /// New bytes of this attempt.
        came: u64,
    },
}

impl From<HubError> for Stop {
    fn from(error: HubError) -> Self {
        Self::Lasting(error)
    }
}

/// An attempt that never came as far as bytes.
fn passing(reason: impl Into<String>) -> Stop {
    Stop::Passing { reason: reason.into(), asked: None, came: 0 }
}

impl Downloader<'_> {
    /// Brings a file to `target`.
    pub(crate) fn fetch(&self, remote: &Remote, expected: &Expected, target: &Path) -> Result<Fetched> {
        let part = part_of(target);
        let paths = Paths { target: target.to_owned(), note: part.with_added_extension("toml"), part };
        let (mut failures, mut attempts) = (0, 0);
        let commit = loop {
            attempts += 1;
            let (reason, asked, came) = match self.attempt(remote, &paths) {
                Ok(commit) => break commit,
                Err(Stop::Lasting(error)) => return Err(error),
                Err(Stop::Passing { reason, asked, came }) => (reason, asked, came),
            };
            failures = if came >= PROGRESS { 1 } else { failures + 1 };
            if failures >= self.retry.attempts {
                let url = plain(&remote.url);
                return Err(HubError::Unreachable { url, attempts, reason, kept: paths.kept() });
            }
            let delay = self.retry.delay(failures, asked, fastrand::f64());
            let event = Event::Retry { reason: &reason, delay, attempt: failures, of: self.retry.attempts };
            self.observer.event(event);
            thread::sleep(delay);
        };
        let (sha256, bytes) = digest(&paths.part).map_err(HubError::io(&paths.part))?;
        if let Err(error) = expected.check(&plain(&remote.url), &sha256, true) {
            paths.forget()?;
            return Err(error);
        }
        disk::rename(&paths.part, target).map_err(HubError::io(target))?;
        disk::remove(&paths.note).map_err(HubError::io(&paths.note))?;
        self.observer.event(Event::Downloaded { file: &paths.name(), bytes });
        Ok(Fetched { bytes, sha256, commit })
    }

    /// One request; afterwards the part is complete. Gives Hugging Face's commit.
    fn attempt(&self, remote: &Remote, paths: &Paths) -> Result<Option<String>, Stop> {
        let part = paths.part(&remote.url);
        let ask = Ask {
            url: &remote.url,
            token: remote.token.as_ref(),
            resume: part.as_ref().map(|(offset, note)| (*offset, note.validator.as_str())),
        };
        let answer = self.client.get(&ask).map_err(|fault| match fault {
            Fault::Passing(reason) => passing(reason),
            Fault::Lasting(error) => Stop::Lasting(error),
        })?;
        let range = text(&answer.headers, "content-range");
        let (offset, total) = match (answer.status, &part) {
            (200, part) => {
                if part.is_some() {
                    let reason = "the server sends the whole file: it changed, or it cannot be sent in parts";
                    self.observer.event(Event::Restart { reason });
                }
                (0, text(&answer.headers, "content-length").and_then(|v| v.parse().ok()))
            }
            (206, Some((offset, note))) => match range.as_deref().and_then(content_range) {
                Some((first, total)) if first == *offset && (note.total.is_none() || total == note.total) => {
                    (*offset, total)
                }
                _ => {
                    paths.forget()?;
                    return Err(passing(format!("the server answered with the range {range:?}")));
                }
            },
            (416, Some((offset, _))) => {
                let total = range.as_deref().and_then(|r| r.strip_prefix("bytes */")).and_then(|t| t.parse().ok());
                if total == Some(*offset) {
                    return Ok(answer.commit);
                }
                paths.forget()?;
                return Err(passing("the part on the disk does not fit the file any more"));
            }
            _ => return Err(self.refused(remote, paths, &answer)),
        };
        let limit = remote.bytes.unwrap_or(self.max_bytes);
        if let (Some(expected), Some(total)) = (remote.bytes, total)
            && expected != total
        {
            let reason = format!("the file has {total} bytes, {expected} are expected");
            return Err(HubError::Answer { url: plain(&remote.url), reason }.into());
        }
        if total.is_some_and(|total| total > limit) {
            paths.forget()?;
            return Err(HubError::TooLarge { what: plain(&remote.url), limit }.into());
        }
        let folder = paths.target.parent().unwrap_or(Path::new("."));
        if let (Some(total), Some(free)) = (total, self.disk.free(folder))
            && total - offset > free
        {
            let folder = folder.to_owned();
            let error =
                HubError::NoSpace { folder, needed: Some(total - offset), free: Some(free), kept: paths.kept() };
            return Err(error.into());
        }
        let commit = answer.commit.clone();
        let full = |error: io::Error| self.write_fault(paths, total.map(|t| t.saturating_sub(paths.length())), error);
        if offset == 0 {
            paths.forget()?;
        }
        let mut sink = self.disk.append(&paths.part, offset == 0).map_err(full)?;
        if offset == 0
            && let Some(validator) = validator(&answer)
        {
            let note = Note { url: plain(&remote.url), validator, total };
            fs::write(&paths.note, note.to_text()).map_err(full)?;
        }
        let name = paths.name();
        self.observer.event(Event::Download { url: &plain(&remote.url), file: &name, offset, total });
        let end = self.copy(answer, sink.as_mut(), offset, limit);
        match end {
            Copied::All(end) if total.is_none_or(|total| end == total) => {
                sink.sync().map_err(full)?;
                Ok(commit)
            }
            Copied::All(end) => {
                Err(Stop::Passing { reason: "the connection ended early".into(), asked: None, came: end - offset })
            }
            Copied::Read(error, end) => {
                Err(Stop::Passing { reason: body_fault(&error), asked: None, came: end - offset })
            }
            Copied::Write(error) => Err(full(error).into()),
            Copied::TooLarge => {
                paths.forget()?;
                Err(HubError::TooLarge { what: plain(&remote.url), limit }.into())
            }
        }
    }

    fn copy(&self, mut answer: Answer, sink: &mut dyn Sink, offset: u64, limit: u64) -> Copied {
        let mut chunk = vec![0; CHUNK];
        let mut end = offset;
        loop {
            let n = match answer.body.read(&mut chunk) {
                Ok(0) => return Copied::All(end),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Copied::Read(error, end),
            };
            if end + n as u64 > limit {
                return Copied::TooLarge;
            }
            if let Err(error) = sink.write_all(&chunk[..n]) {
                return Copied::Write(error);
            }
            end += n as u64;
            self.observer.event(Event::Bytes(n as u64));
        }
    }

    /// The error of an answer without the file.
    fn refused(&self, remote: &Remote, paths: &Paths, answer: &Answer) -> Stop {
        let (status, url) = (answer.status, plain(&remote.url));
        match status {
            404 | 410 => HubError::NotFound { url, status, file: paths.name() }.into(),
            401 | 403 => HubError::Denied { url, status, advice: remote.advice.clone() }.into(),
            408 | 425 | 429 | 500..=599 => {
                let asked = text(&answer.headers, "retry-after").and_then(|v| retry_after(&v, SystemTime::now()));
                let host = remote.url.host_str().unwrap_or_default();
                Stop::Passing { reason: format!("{host} answers HTTP {status}"), asked, came: 0 }
            }
            _ => HubError::Answer { url, reason: format!("HTTP {status}") }.into(),
        }
    }

    fn write_fault(&self, paths: &Paths, needed: Option<u64>, error: io::Error) -> HubError {
        if !is_full(&error) {
            return HubError::io(&paths.part)(error);
        }
        let folder = paths.target.parent().unwrap_or(Path::new(".")).to_owned();
        let free = self.disk.free(&folder);
        HubError::NoSpace { folder, needed, free, kept: paths.kept() }
    }
}

/// Whether the system says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// How a copy ended; numbers are the length of the part.
enum Copied {
    All(u64),
    Read(io::Error, u64),
    Write(io::Error),
    TooLarge,
}

impl Paths {
    fn name(&self) -> String {
        self.target.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn length(&self) -> u64 {
        fs::metadata(&self.part).map_or(0, |m| m.len())
    }

    /// Length and note of a part that can be gone on with.
    fn part(&self, url: &Url) -> Option<(u64, Note)> {
        let note: Note = toml::from_str(&fs::read_to_string(&self.note).ok()?).ok()?;
        let length = Some(self.length()).filter(|length| *length > 0)?;
        (note.url == plain(url)).then_some((length, note))
    }

    /// Removes the part and its note.
    fn forget(&self) -> Result<()> {
        for path in [&self.part, &self.note] {
            disk::remove(path).map_err(HubError::io(path))?;
        }
        Ok(())
    }

    /// What becomes of the part.
    fn kept(&self) -> String {
        match self.length() {
            0 => "nothing was kept".to_owned(),
            n => format!("{n} bytes stay in {}, and the next pull goes on from there", self.part.display()),
        }
    }
}

impl Note {
    fn to_text(&self) -> String {
        // Three plain fields always have a form in TOML.
        toml::to_string(self).unwrap_or_default()
    }
}

/// What `If-Range` can be asked with (RFC 9110, 13.1.5): a strong ETag, else the time of the last change.
fn validator(answer: &Answer) -> Option<String> {
    let strong = text(&answer.headers, "etag").filter(|tag| !tag.starts_with("W/"));
    strong.or_else(|| text(&answer.headers, "last-modified"))
}

/// First byte and size of `bytes FIRST-LAST/SIZE`.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
    let first = range.split_once('-')?.0.parse().ok()?;
    Some((first, if size == "*" { None } else { Some(size.parse().ok()?) }))
}

/// sha256 (lower-case hex) and size of a file.
pub(crate) fn digest(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => {
                hasher.update(&chunk[..n]);
                bytes += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((hasher.finalize().iter().map(|b| format!("{b:02x}")).collect(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("items 5-9/10"), None);
    }

    #[test]
    fn a_part_of_another_address_is_not_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("f");
        let part = part_of(&target);
        let paths = Paths { target, note: part.with_added_extension("toml"), part };
        let url = Url::parse("https://a.example/f").unwrap();
        let note = || Note { url: url.to_string(), validator: "\"1\"".into(), total: Some(9) };
        fs::write(&paths.note, note().to_text()).unwrap();
        assert!(paths.part(&url).is_none(), "an empty part");
        fs::write(&paths.part, "abc").unwrap();
        assert_eq!(paths.part(&url), Some((3, note())));
        assert!(paths.part(&Url::parse("https://b.example/f").unwrap()).is_none());
        fs::write(&paths.note, "damaged").unwrap();
        assert!(paths.part(&url).is_none());
    }
}
