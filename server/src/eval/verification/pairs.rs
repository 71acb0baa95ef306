//! The table of pairs.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use crate::eval::labels::{Column, LabelError, Labels};

const FIRST: Column = &["img1", "file_x", "file1", "path1"];
const SECOND: Column = &["img2", "file_y", "file2", "path2"];
const SAME: Column = &["same", "decision", "issame", "label"];
const FOLD: Column = &["fold"];

/// Pairs as positions in the list of images, each image once.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub images: Vec<PathBuf>,
    pub pairs: Vec<Pair>,
}

#[derive(Debug)]
pub(super) struct Pair {
    pub names: [String; 2],
    pub images: [usize; 2],
    pub same: bool,
    pub fold: Option<String>,
    pub group: Option<String>,
}

/// Reads `table`, whose images lie in or below `dir`.
///
/// # Errors
/// See [`LabelError`].
pub(super) fn read_pairs(
    dir: &Path,
    table: &Path,
    limit: Option<usize>,
    group: Option<&str>,
) -> Result<Pairs, LabelError> {
    let labels = Labels::read(table, &[FIRST, SECOND, SAME], &[FOLD], group)?;
    let mut all = Pairs::default();
    let mut known: HashMap<PathBuf, usize> = HashMap::new();
    for row in labels.rows(limit) {
        let mut images = [0; 2];
        for (column, place) in images.iter_mut().enumerate() {
            let path = row.image(column, dir)?;
            *place = *known.entry(path.clone()).or_insert_with(|| {
                all.images.push(path);
                all.images.len() - 1
            });
        }
        let names = [row.text(0).to_owned(), row.text(1).to_owned()];
        let own = |cell: Option<&str>| cell.map(str::to_owned);
        all.pairs.push(Pair { names, images, same: row.flag(2)?, fold: own(row.optional(3)), group: own(row.group()) });
    }
    labels.both(2, all.pairs.iter().map(|p| p.same))?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::tests::set, *};

    #[test]
    fn each_photo_is_listed_once() {
        let (_dir, pairs, _) = set();
        assert_eq!((pairs.images.len(), pairs.pairs.len()), (9, 9));
        assert_eq!(pairs.pairs[5].images[0], pairs.pairs[0].images[0]);
        assert_eq!(pairs.pairs[8].group.as_deref(), Some("y"));
    }

    #[test]
    fn one_class_is_an_error_before_any_network_runs() {
        let (dir, ..) = set();
        let table = dir.path().join("same.csv");
        fs::write(&table, "img1,img2,same\n0.png,1.png,1\n2.png,3.png,1\n").unwrap();
        let message = read_pairs(dir.path(), &table, None, None).unwrap_err().to_string();
        assert!(message.contains("same.csv: same says yes in all 2 rows"), "{message}");
    }
}
