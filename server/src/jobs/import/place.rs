//! Which paths of an archive or folder name a photo of a person.

/// Longest path that is repeated in a report.
const MAX_SHOWN: usize = 255;

/// What a path stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A photo in the folder of its person.
    Photo {
        /// Name of the folder.
        person: &'a str,
        /// Name of the file.
        file: &'a str,
    },
    /// A folder, or a file that systems put beside photos.
    Ignored,
    /// Anything else, and why.
    Refused(&'static str),
}

/// Sorts a path with `/` between its parts: `person/photo.jpg`.
pub fn of(path: &str) -> Place<'_> {
    match parts(path).as_deref() {
        Ok(&[person, file]) => Place::Photo { person, file },
        Ok(&[_]) => Place::Refused("the photo lies in no folder; put it into a folder that is named for its person"),
        Ok(_) => Place::Refused("the photo lies in a folder within a folder; paths are person/photo.jpg"),
        Err(Elsewhere::Ignored) => Place::Ignored,
        Err(Elsewhere::Refused(reason)) => Place::Refused(reason),
    }
}

/// Sorts a path whose folders say nothing: of nobody, at any depth.
pub fn anywhere(path: &str) -> Place<'_> {
    match parts(path).as_deref() {
        Ok(_) => Place::Photo { person: "", file: path },
        Err(Elsewhere::Ignored) => Place::Ignored,
        Err(Elsewhere::Refused(reason)) => Place::Refused(reason),
    }
}

/// A path that leads to no file of the archive.
enum Elsewhere {
    Ignored,
    Refused(&'static str),
}

/// The parts of a path to a file below the archive's own folder.
fn parts(path: &str) -> Result<Vec<&str>, Elsewhere> {
    let refused = |reason| Err(Elsewhere::Refused(reason));
    if path.chars().any(char::is_control) {
        return refused("the path has control characters");
    }
    if path.contains('\\') {
        return refused("the path has a backslash; parts of a path are told apart by /");
    }
    let folder = path.ends_with('/');
    let parts: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    let drive = |part: &str| part.as_bytes().get(1) == Some(&b':');
    if path.starts_with('/') || parts.first().is_some_and(|p| drive(p)) {
        return refused("the path is absolute; paths in an archive are relative to it");
    }
    if parts.iter().any(|p| p.is_empty() || matches!(p.trim(), "." | "..")) {
        return refused("the path leads out of its folder");
    }
    let hidden = |part: &&str| part.starts_with('.') || matches!(*part, "__MACOSX" | "Thumbs.db" | "desktop.ini");
    if folder || parts.iter().any(hidden) {
        return Err(Elsewhere::Ignored);
    }
    Ok(parts)
}

/// A path as it is repeated to people.
pub fn shown(path: &str) -> String {
    path.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_lies_in_the_folder_of_its_person() {
        assert_eq!(of("ann/1.jpg"), Place::Photo { person: "ann", file: "1.jpg" });
        assert_eq!(of("Zoë Müller/a b.png"), Place::Photo { person: "Zoë Müller", file: "a b.png" });
    }

    #[test]
    fn folders_and_hidden_files_are_passed_over() {
        for path in ["ann/", ".git/config", "ann/.DS_Store", "__MACOSX/ann/._1.jpg", "ann/Thumbs.db", "a/b/"] {
            assert_eq!(of(path), Place::Ignored, "{path}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let odd = [
            "../ann/1.jpg",
            "ann/../../x",
            "ann/..",
            "/ann/1.jpg",
            "//host/share",
            "C:/ann/1.jpg",
            "c:ann/1.jpg",
            "ann\\1.jpg",
            "..\\1.jpg",
            "ann//1.jpg",
            "./1.jpg",
            "ann/./1.jpg",
            "ann/ .. /1.jpg",
            "ann/1\0.jpg",
            "",
            "/",
            "1.jpg",
            "a/b/1.jpg",
            "ann/1\n.jpg",
            "../",
        ];
        for path in odd {
            assert!(matches!(of(path), Place::Refused(_)), "{path:?}");
        }
    }

    #[test]
    fn without_persons_any_folder_will_do() {
        for path in ["1.jpg", "a/1.jpg", "a/b/c/1.jpg"] {
            assert_eq!(anywhere(path), Place::Photo { person: "", file: path });
        }
        for path in ["a/", "a/.hidden/1.jpg", "__MACOSX/._1.jpg"] {
            assert_eq!(anywhere(path), Place::Ignored, "{path}");
        }
        for path in ["../1.jpg", "a/../../1.jpg", "/1.jpg", "C:/1.jpg", "a\\1.jpg", "a//1.jpg", ""] {
            assert!(matches!(anywhere(path), Place::Refused(_)), "{path}");
        }
    }

    #[test]
    fn what_is_shown_is_short_and_printable() {
        assert_eq!(shown("a\u{7}b"), "a\u{fffd}b");
        assert_eq!(shown(&"é".repeat(1000)).chars().count(), 255);
    }
}
