//! The photos that a network is most wrong about.

use std::path::PathBuf;

use super::report::pictures::Picture;

/// Photos shown of each kind of failure.
const SHOWN: usize = 24;

/// Small copies of the first photos of `rows`, (position, score), in their order, with score and name.
///
/// # Errors
/// A photo cannot be read any more.
pub fn photos(rows: &[(usize, f64)], paths: &[PathBuf], names: &[String]) -> anyhow::Result<Vec<Picture>> {
    let one = |(i, score): &(usize, f64)| Picture::of(&[&paths[*i]], format!("{score:.3}: {}", names[*i]));
    rows.iter().take(SHOWN).map(one).collect()
}
