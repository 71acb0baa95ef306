//! The table of what was said of every row, for choosing thresholds and checking figures elsewhere.

use std::{fs, path::Path};

use anyhow::Context;

/// Writes a table of raw scores as CSV.
///
/// # Errors
/// The file cannot be written.
pub fn write<S: AsRef<str>>(
    path: &Path,
    head: &[S],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head.iter().map(AsRef::as_ref))?;
    for row in rows {
        writer.write_record(row)?;
    }
    let bytes = writer.into_inner()?;
    fs::write(path, bytes).with_context(|| format!("cannot write the scores to {}", path.display()))
}

/// A flag as the tables write it.
pub fn flag(value: bool) -> String {
    u8::from(value).to_string()
}
