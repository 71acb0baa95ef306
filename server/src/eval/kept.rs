//! Answers kept in a file, so that a measurement that was cut off goes on where it was.
//!
//! One line of JSON for each photo: what was asked and of which networks (`key`), the sha256 of the photo's bytes, the
//! answer. A photo is looked up by its content, whatever its name; other networks, another detector or another version of
//! the program are another key, and its lines stay for whoever goes back to them.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A file of answers that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptError {
    /// It cannot be opened, read or written.
    #[error("cannot keep answers in {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A line is no answer.
    #[error("{} line {line} holds no answer of facesocial eval; name another file or delete this one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The reader's reason.
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Entry<'a, T> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    image: Cow<'a, str>,
    answer: T,
}

/// What names a photo: the sha256 of its bytes, in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The answers to one question, by the sha256 of the photo.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    key: String,
    known: HashMap<String, Value>,
    file: Writer,
}

/// The end of the file, where further answers go.
#[derive(Debug)]
pub struct Writer(Option<File>);

impl Kept {
    /// The answers to `key` in the file at `path`, which need not exist; nothing is kept where `path` is `None`.
    ///
    /// # Errors
    /// See [`KeptError`]. A last line that was cut off is no error: it is written anew.
    pub fn open(path: Option<&Path>, key: String) -> Result<Self, KeptError> {
        let Some(path) = path else {
            return Ok(Self { path: PathBuf::new(), key, known: HashMap::new(), file: Writer(None) });
        };
        let failed = |source| KeptError::File { path: path.to_owned(), source };
        let text = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(failed)?,
        };
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let mut known = HashMap::new();
        for (i, line) in text[..whole].split(|b| *b == b'\n').filter(|l| !l.is_empty()).enumerate() {
            let damaged = |source| KeptError::Damaged { path: path.to_owned(), line: i + 1, source };
            let entry: Entry<'_, Value> = serde_json::from_slice(line).map_err(damaged)?;
            if entry.key == key {
                known.insert(entry.image.into_owned(), entry.answer);
            }
        }
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
        file.set_len(whole as u64).map_err(failed)?;
        Ok(Self { path: path.to_owned(), key, known, file: Writer(Some(file)) })
    }

    /// Number of answers that are there.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is there.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The answer about a photo, if it is there; one in another form counts as absent.
    pub fn get<R: DeserializeOwned>(&self, sha256: &str) -> Option<R> {
        R::deserialize(self.known.get(sha256)?).ok()
    }

    /// Where answers are added; apart, so that others may look answers up meanwhile.
    pub fn take_writer(&mut self) -> Writer {
        std::mem::replace(&mut self.file, Writer(None))
    }

    /// Writes down an answer at once.
    ///
    /// # Errors
    /// [`KeptError::File`].
    pub fn add<R: Serialize>(&self, to: &mut Writer, sha256: &str, answer: &R) -> Result<(), KeptError> {
        let Some(file) = &mut to.0 else { return Ok(()) };
        let entry = Entry { key: self.key.as_str().into(), image: sha256.into(), answer };
        // One write: a run that is cut off leaves at most one line in parts, and two runs do not mix theirs.
        let line = serde_json::to_string(&entry).map_err(io::Error::from).map(|line| line + "\n");
        let written = line.and_then(|line| file.write_all(line.as_bytes()));
        written.map_err(|source| KeptError::File { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_again_by_question_and_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers.jsonl");
        let mut kept = Kept::open(Some(&path), "a".to_owned()).unwrap();
        assert!(kept.is_empty());
        let mut writer = kept.take_writer();
        kept.add(&mut writer, "11", &0.1_f32).unwrap();
        kept.add(&mut writer, "22", &0.3_f32).unwrap();
        let other = Kept::open(Some(&path), "b".to_owned()).unwrap();
        assert_eq!(other.get::<f32>("11"), None);
        // The second line is cut off, and written anew.
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 3]).unwrap();
        let mut kept = Kept::open(Some(&path), "a".to_owned()).unwrap();
        assert_eq!((kept.len(), kept.get::<f32>("11"), kept.get::<f32>("22")), (1, Some(0.1), None));
        let mut writer = kept.take_writer();
        kept.add(&mut writer, "22", &0.3_f32).unwrap();
        assert_eq!(fs::read(&path).unwrap(), text);
        // What has another form is asked for again.
        assert_eq!(Kept::open(Some(&path), "a".to_owned()).unwrap().get::<Vec<String>>("11"), None);
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        fs::write(&path, "my notes\n").unwrap();
        let message = Kept::open(Some(&path), "a".to_owned()).unwrap_err().to_string();
        assert!(message.contains("notes.txt line 1 holds no answer"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "my notes\n");
        let nowhere = Kept::open(Some(Path::new("/none/answers.jsonl")), String::new());
        assert!(matches!(nowhere, Err(KeptError::File { .. })));
        // Nothing is kept without a file.
        let mut kept = Kept::open(None, String::new()).unwrap();
        let mut writer = kept.take_writer();
        assert!(kept.add(&mut writer, "11", &1).is_ok() && kept.is_empty());
    }
}
