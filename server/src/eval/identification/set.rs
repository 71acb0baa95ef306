//! Gallery and probes.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
};

use crate::eval::{
    DataArgs,
    labels::{Column, LabelError, Labels, Row},
};

const FILE: Column = &["file"];
const IDENTITY: Column = &["identity", "person", "name"];

/// A labelled photo.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Photo {
    pub name: String,
    pub path: PathBuf,
    pub identity: String,
    pub group: Option<String>,
}

/// Who is enrolled, and who is looked for.
#[derive(Debug)]
pub(super) struct Set {
    pub gallery: Vec<Photo>,
    pub probes: Vec<Photo>,
    /// How they were told apart.
    pub split: &'static str,
}

impl Set {
    /// Number of enrolled persons.
    pub fn persons(&self) -> usize {
        self.enrolled().len()
    }

    /// Identities of the gallery.
    fn enrolled(&self) -> BTreeSet<&str> {
        self.gallery.iter().map(|p| p.identity.as_str()).collect()
    }

    /// The probes whose person is enrolled.
    pub fn mated(&self) -> impl Iterator<Item = &Photo> {
        let enrolled = self.enrolled();
        self.probes.iter().filter(move |p| enrolled.contains(p.identity.as_str()))
    }
}

/// gallery.csv and probes.csv of the folder. Where there is no gallery.csv, labels.csv is split: of a person with several
/// photos the first is enrolled and the others are probes, persons with one photo are strangers.
///
/// # Errors
/// See [`LabelError`].
pub(super) fn read_set(data: &DataArgs) -> Result<Set, LabelError> {
    let read = |table: PathBuf, limit| -> Result<Vec<Photo>, LabelError> {
        let labels = Labels::read(&table, &[FILE, IDENTITY], &[], data.group())?;
        labels.rows(limit).map(|row| photo(data, &row)).collect()
    };
    let gallery = data.data.join("gallery.csv");
    if data.labels.is_none() && gallery.is_file() {
        // A smaller gallery is another question: --limit is for probes.
        let (gallery, probes) = (read(gallery, None)?, read(data.data.join("probes.csv"), data.limit())?);
        return Ok(Set { gallery, probes, split: "gallery.csv and probes.csv" });
    }
    let mut set = split(read(data.table("labels.csv"), None)?);
    if let Some(limit) = data.limit().filter(|l| *l < set.probes.len()) {
        let total = set.probes.len();
        set.probes = (0..limit).map(|i| set.probes[i * total / limit].clone()).collect();
    }
    Ok(set)
}

fn photo(data: &DataArgs, row: &Row<'_>) -> Result<Photo, LabelError> {
    let identity = row.text(1).to_owned();
    if identity.is_empty() {
        return Err(row.bad(1, "the name of a person"));
    }
    let group = row.group().map(str::to_owned);
    Ok(Photo { name: row.text(0).to_owned(), path: row.image(0, &data.data)?, identity, group })
}

fn split(photos: Vec<Photo>) -> Set {
    let mut counts: HashMap<String, usize> = HashMap::new();
    photos.iter().for_each(|p| *counts.entry(p.identity.clone()).or_default() += 1);
    let mut seen = BTreeSet::new();
    let first = |p: &Photo| counts[&p.identity] > 1 && seen.insert(p.identity.clone());
    let (gallery, probes) = photos.into_iter().partition(first);
    Set { gallery, probes, split: "the first photo of each person with several is enrolled" }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn photos(identities: &[&str]) -> Vec<Photo> {
        let photo = |(i, identity): (usize, &&str)| Photo {
            name: i.to_string(),
            path: PathBuf::from(i.to_string()),
            identity: (*identity).to_owned(),
            group: Some((*identity).to_owned()),
        };
        identities.iter().enumerate().map(photo).collect()
    }

    pub fn listed(gallery: &[&str], probes: &[&str]) -> Set {
        Set { gallery: photos(gallery), probes: photos(probes), split: "by hand" }
    }

    #[test]
    fn a_table_is_split_by_person() {
        let set = split(photos(&["ann", "bob", "ann", "cid", "ann", "cid"]));
        let names = |photos: &[Photo]| photos.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(&set.gallery), names(&set.probes)),
            (vec!["0".into(), "3".into()], vec!["1".into(), "2".into(), "4".into(), "5".into()])
        );
        assert_eq!((set.persons(), set.mated().count()), (2, 3));
    }
}
