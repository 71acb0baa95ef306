//! Tables of labels (CSV with a head line) and the images they speak of.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Labels that cannot be used. Every variant names the file, and the line where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// The file cannot be read, or a row has more or fewer cells than the head.
    #[error("cannot read the labels {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reader's reason, with the line.
        source: csv::Error,
    },
    /// A column is missing.
    #[error("{} has no column {wanted}; it has {given}", path.display())]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// Its allowed names.
        wanted: String,
        /// The head line.
        given: String,
    },
    /// A head line and nothing below.
    #[error("{} has no rows", .0.display())]
    NoRows(PathBuf),
    /// A cell that cannot be understood.
    #[error("{} line {line}: {column} is \"{value}\"; {expected} is needed", path.display())]
    BadCell {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Name of the column.
        column: String,
        /// What is there.
        value: String,
        /// What should be.
        expected: &'static str,
    },
    /// Figures that compare two classes need rows of both.
    #[error("{}: {column} says {class} in all {count} rows that are taken; rows of both kinds are needed", path.display())]
    OneClass {
        /// The file.
        path: PathBuf,
        /// Name of the column.
        column: String,
        /// What all rows say.
        class: &'static str,
        /// How many rows there are.
        count: usize,
    },
    /// A row names an image that is not there.
    #[error("{} line {line}: there is no {} and no {}", path.display(), tried[0].display(), tried[1].display())]
    NoImage {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Where the image was looked for.
        tried: [PathBuf; 2],
    },
}

/// A column: its name first, then names that other sets use for it.
pub type Column = &'static [&'static str];

/// The rows of a table, reduced to the columns asked for.
#[derive(Debug)]
pub struct Labels {
    path: PathBuf,
    columns: Vec<Column>,
    group: Option<String>,
    rows: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    number: u64,
    cells: Vec<Option<String>>,
    group: Option<String>,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    labels: &'a Labels,
    line: &'a Line,
}

/// The column of groups unless another is named.
const GROUP: &str = "group";
/// What an empty cell of the column of groups says.
pub const NO_GROUP: &str = "none given";

impl Labels {
    /// Reads `required` columns, which must be there, and `optional` ones, which may be; other columns are passed over.
    /// Names are compared without regard to case. `group` names the column that tells to which group of people a row
    /// belongs; `None`: the column group, if there is one.
    ///
    /// # Errors
    /// See [`LabelError`].
    pub fn read(
        path: &Path,
        required: &[Column],
        optional: &[Column],
        group: Option<&str>,
    ) -> Result<Self, LabelError> {
        let read = |source| LabelError::Read { path: path.to_owned(), source };
        let text = fs::read(path).map_err(|e| read(e.into()))?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_slice());
        let head = reader.headers().map_err(read)?.clone();
        let find = |names: Column| head.iter().position(|h| names.iter().any(|n| n.eq_ignore_ascii_case(h)));
        let absent = |wanted: String| LabelError::NoColumn {
            path: path.to_owned(),
            wanted,
            given: head.iter().collect::<Vec<_>>().join(", "),
        };
        let mut places = Vec::new();
        for names in required {
            places.push(Some(find(names).ok_or_else(|| absent(names.join(" or ")))?));
        }
        places.extend(optional.iter().map(|names| find(names)));
        let group_place = head.iter().position(|h| h.eq_ignore_ascii_case(group.unwrap_or(GROUP)));
        if let (Some(named), None) = (group, group_place) {
            return Err(absent(named.to_owned()));
        }
        let mut rows = Vec::new();
        let (mut line, mut at) = (1, 0);
        for record in reader.records() {
            let record = record.map_err(read)?;
            // The reader's own line numbers lag behind where lines end in CR LF or are blank.
            let mut start = record.position().map_or(at, |p| p.byte() as usize);
            start += text[start..].iter().take_while(|b| b.is_ascii_whitespace()).count();
            line += text[at..start].iter().filter(|b| **b == b'\n').count() as u64;
            at = start;
            let cell = |place: Option<usize>| Some(record.get(place?)?.to_owned());
            let group = cell(group_place).map(|g| if g.is_empty() { NO_GROUP.to_owned() } else { g });
            rows.push(Line { number: line, cells: places.iter().map(|p| cell(*p)).collect(), group });
        }
        if rows.is_empty() {
            return Err(LabelError::NoRows(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            columns: required.iter().chain(optional).copied().collect(),
            group: group_place.and_then(|p| head.get(p)).map(str::to_owned),
            rows,
        })
    }

    /// Name of the column of groups, if there is one.
    pub fn group_column(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// An error if all `flags`, which are those of column `index`, are alike: told before any network runs.
    ///
    /// # Errors
    /// [`LabelError::OneClass`].
    pub fn both(&self, index: usize, flags: impl IntoIterator<Item = bool>) -> Result<(), LabelError> {
        let flags: Vec<bool> = flags.into_iter().collect();
        match flags.iter().filter(|f| **f).count() {
            yes if yes > 0 && yes < flags.len() => Ok(()),
            yes => Err(LabelError::OneClass {
                path: self.path.clone(),
                column: self.columns[index][0].to_owned(),
                class: if yes > 0 { "yes" } else { "no" },
                count: flags.len(),
            }),
        }
    }

    /// The rows from top to bottom; with a limit, that many spread evenly over the file, because files are often
    /// sorted by label.
    pub fn rows(&self, limit: Option<usize>) -> impl Iterator<Item = Row<'_>> {
        let total = self.rows.len();
        let count = limit.unwrap_or(total).min(total);
        (0..count).map(move |i| Row { labels: self, line: &self.rows[i * total / count] })
    }
}

impl<'a> Row<'a> {
    /// The cell of column `index`, counted through required and then optional columns. Empty if the file has no such
    /// column.
    pub fn text(&self, index: usize) -> &'a str {
        self.line.cells[index].as_deref().unwrap_or("")
    }

    /// The cell, if the file has the column.
    pub fn optional(&self, index: usize) -> Option<&'a str> {
        self.line.cells[index].as_deref()
    }

    /// The group of people that the row belongs to, if the file tells groups.
    pub fn group(&self) -> Option<&'a str> {
        self.line.group.as_deref()
    }

    /// The cell as a finite number.
    ///
    /// # Errors
    /// [`LabelError::BadCell`].
    pub fn number(&self, index: usize) -> Result<f64, LabelError> {
        let number = self.text(index).parse().ok().filter(|v: &f64| v.is_finite());
        number.ok_or_else(|| self.bad(index, "a number"))
    }

    /// The cell as yes or no.
    ///
    /// # Errors
    /// [`LabelError::BadCell`].
    pub fn flag(&self, index: usize) -> Result<bool, LabelError> {
        match self.text(index).to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "same" => Ok(true),
            "0" | "false" | "no" | "different" => Ok(false),
            _ => Err(self.bad(index, "1 or 0 (or yes or no)")),
        }
    }

    /// The image that the cell names: `dir/images/NAME` or `dir/NAME`.
    ///
    /// # Errors
    /// [`LabelError::NoImage`], or [`LabelError::BadCell`] where the cell is empty.
    pub fn image(&self, index: usize, dir: &Path) -> Result<PathBuf, LabelError> {
        let name = self.text(index);
        if name.is_empty() {
            return Err(self.bad(index, "the name of an image"));
        }
        let tried = [dir.join("images").join(name), dir.join(name)];
        match tried.iter().find(|p| p.is_file()) {
            Some(found) => Ok(found.clone()),
            None => Err(LabelError::NoImage { path: self.labels.path.clone(), line: self.line.number, tried }),
        }
    }

    /// An error about the cell of column `index`.
    pub fn bad(&self, index: usize, expected: &'static str) -> LabelError {
        LabelError::BadCell {
            path: self.labels.path.clone(),
            line: self.line.number,
            column: self.labels.columns[index][0].to_owned(),
            value: self.text(index).to_owned(),
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Column = &["file", "path"];
    const SAME: Column = &["same", "decision"];
    const FOLD: Column = &["fold"];

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.csv");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn columns_are_found_by_any_of_their_names_and_lines_counted() {
        let (dir, path) = written("Decision, path ,more\r\nYes,a.jpg,1\r\n\r\nmaybe,\"b,c.jpg\",2\r\n");
        fs::create_dir(dir.path().join("images")).unwrap();
        fs::write(dir.path().join("images/a.jpg"), "").unwrap();
        let labels = Labels::read(&path, &[FILE, SAME], &[FOLD], None).unwrap();
        let rows: Vec<_> = labels.rows(None).collect();
        assert!(rows[0].flag(1).unwrap());
        assert_eq!(rows[0].optional(2), None);
        assert_eq!(rows[0].image(0, dir.path()).unwrap(), dir.path().join("images/a.jpg"));
        let message = rows[1].flag(1).unwrap_err().to_string();
        assert!(
            message.ends_with("labels.csv line 4: same is \"maybe\"; 1 or 0 (or yes or no) is needed"),
            "{message}"
        );
        let message = rows[1].image(0, dir.path()).unwrap_err().to_string();
        assert!(message.contains("labels.csv line 4: there is no ") && message.contains("b,c.jpg"), "{message}");
        assert!(rows[1].number(0).is_err());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let (_dir, path) = written("file,other\na.jpg,1\n");
        let message = Labels::read(&path, &[FILE, SAME], &[], None).unwrap_err().to_string();
        assert!(message.ends_with("labels.csv has no column same or decision; it has file, other"), "{message}");
        let (_dir, path) = written("file,same\na.jpg,1\nb.jpg\n");
        let message = format!("{:#}", anyhow::Error::from(Labels::read(&path, &[FILE, SAME], &[], None).unwrap_err()));
        assert!(message.contains("labels.csv") && message.contains("line: 3"), "{message}");
        let (_dir, path) = written("file,same\n");
        assert!(matches!(Labels::read(&path, &[FILE], &[], None), Err(LabelError::NoRows(_))));
        assert!(matches!(Labels::read(Path::new("/none.csv"), &[FILE], &[], None), Err(LabelError::Read { .. })));
    }

    #[test]
    fn groups_are_those_of_the_column_and_one_class_is_named() {
        let (_dir, path) = written("file,same,Group,race\na,1,x,r\nb,1,,s\n");
        let labels = Labels::read(&path, &[FILE, SAME], &[], None).unwrap();
        let groups: Vec<_> = labels.rows(None).map(|r| r.group()).collect();
        assert_eq!((groups, labels.group_column()), (vec![Some("x"), Some(NO_GROUP)], Some("Group")));
        let by_race = Labels::read(&path, &[FILE], &[], Some("race")).unwrap();
        assert_eq!(by_race.rows(None).nth(1).unwrap().group(), Some("s"));
        let message = Labels::read(&path, &[FILE], &[], Some("age")).unwrap_err().to_string();
        assert!(message.ends_with("has no column age; it has file, same, Group, race"), "{message}");
        let message = labels.both(1, [true, true]).unwrap_err().to_string();
        assert!(
            message.ends_with("labels.csv: same says yes in all 2 rows that are taken; rows of both kinds are needed")
        );
        assert!(labels.both(1, [true, false]).is_ok());
        assert!(labels.both(1, [false]).unwrap_err().to_string().contains("says no in all 1 rows"));
    }

    #[test]
    fn a_limit_takes_rows_from_all_over_the_file() {
        let text: String = (0..10).map(|i| format!("{i}\n")).collect();
        let (_dir, path) = written(&format!("file\n{text}"));
        let labels = Labels::read(&path, &[FILE], &[], None).unwrap();
        let names = |limit| labels.rows(limit).map(|r| r.text(0).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(Some(2)), ["0", "5"]);
        assert_eq!(names(Some(99)).len(), 10);
    }
}
