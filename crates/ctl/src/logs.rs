//! The ends of log files, and what is added to them.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::sleep;

use crate::{CtlError, Result};

/// Between two looks at a file that is followed.
const LOOK: Duration = Duration::from_millis(300);
/// Read at a time, from the end on.
const BLOCK: u64 = 64 << 10;

/// The last `lines` lines of a file; nothing of one that is not there.
///
/// # Errors
/// The file cannot be read.
pub fn tail(path: &Path, lines: usize) -> Result<String> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(CtlError::file(path)(e)),
    };
    let read = |file: &mut File| -> io::Result<Vec<u8>> {
        let length = file.seek(SeekFrom::End(0))?;
        let (mut start, mut bytes) = (length, Vec::new());
        while start > 0 && bytes.iter().filter(|b| **b == b'\n').count() <= lines {
            let size = BLOCK.min(start);
            start -= size;
            file.seek(SeekFrom::Start(start))?;
            let mut block = vec![0; size as usize];
            file.read_exact(&mut block)?;
            block.append(&mut bytes);
            bytes = block;
        }
        Ok(bytes)
    };
    let bytes = read(&mut file).map_err(CtlError::file(path))?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let kept = &all[all.len().saturating_sub(lines)..];
    Ok(kept.iter().flat_map(|line| [*line, "\n"]).collect())
}

/// Writes the last `lines` lines of each file, then, if `follow` is set, whatever is added, until the writer fails or the
/// future is dropped. With several files each line begins with its file's name.
///
/// # Errors
/// A file cannot be read, the writer fails.
pub async fn show(
    files: &[(String, PathBuf)],
    lines: usize,
    follow: bool,
    out: &mut (impl Write + Send),
) -> Result<()> {
    let several = files.len() > 1;
    let written = |e| CtlError::file("standard output")(e);
    let mut open = Vec::with_capacity(files.len());
    for (name, path) in files {
        for line in tail(path, lines)?.lines() {
            write_line(out, several.then_some(name), line).map_err(written)?;
        }
        let length = path.metadata().map_or(0, |m| m.len());
        open.push((name, path, length, Vec::new()));
    }
    if !follow {
        return Ok(());
    }
    loop {
        sleep(LOOK).await;
        for (name, path, seen, rest) in &mut open {
            for line in added(path, seen, rest).map_err(CtlError::file(path.clone()))? {
                write_line(out, several.then_some(*name), &line).map_err(written)?;
            }
        }
        out.flush().map_err(written)?;
    }
}

fn write_line(out: &mut impl Write, name: Option<&String>, line: &str) -> io::Result<()> {
    match name {
        Some(name) => writeln!(out, "{name:<12} | {line}"),
        None => writeln!(out, "{line}"),
    }
}

/// Whole lines from `seen` on; the beginning of one that is not whole yet stays in `rest`.
fn added(path: &Path, seen: &mut u64, rest: &mut Vec<u8>) -> io::Result<Vec<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    if file.metadata()?.len() < *seen {
        // Begun anew.
        *seen = 0;
        rest.clear();
    }
    file.seek(SeekFrom::Start(*seen))?;
    let mut reader = BufReader::new(file);
    let mut lines = Vec::new();
    loop {
        let read = reader.read_until(b'\n', rest)?;
        *seen += read as u64;
        if read == 0 || rest.last() != Some(&b'\n') {
            return Ok(lines);
        }
        lines.push(String::from_utf8_lossy(rest).trim_end().to_owned());
        rest.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_end_of_a_long_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(tail(&path, 3).unwrap(), "");
        let text: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
        fs::write(&path, text).unwrap();
        assert_eq!(tail(&path, 2).unwrap(), "line 49998\nline 49999\n");
        assert_eq!(tail(&path, 20_000).unwrap().lines().count(), 20_000);
        assert_eq!(tail(&path, 60_000).unwrap().lines().count(), 50_000);
        assert_eq!(tail(&path, 0).unwrap(), "");
    }

    #[test]
    fn what_is_added_is_told_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "old\nfirst").unwrap();
        let (mut seen, mut rest) = (4, Vec::new());
        assert!(added(&path, &mut seen, &mut rest).unwrap().is_empty());
        File::options().append(true).open(&path).unwrap().write_all(b" half\nsecond\n").unwrap();
        assert_eq!(added(&path, &mut seen, &mut rest).unwrap(), ["first half", "second"]);
        fs::write(&path, "anew\n").unwrap();
        assert_eq!(added(&path, &mut seen, &mut rest).unwrap(), ["anew"]);
    }

    #[tokio::test]
    async fn several_files_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<_> = ["a", "b"].map(|n| (n.to_owned(), folder.path().join(n))).into();
        for (name, path) in &files {
            fs::write(path, format!("of {name}\n")).unwrap();
        }
        let mut out = Vec::new();
        show(&files, 10, false, &mut out).await.unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a            | of a\nb            | of b\n");
    }
}
