//! Thresholds found on a set become those that decide: `--apply` writes them to the file of `--thresholds-file`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use facesocial_pipeline::{Band, Thresholds};
use facesocial_types::ModelId;
use serde::Serialize;
use time::OffsetDateTime;

use super::{DataArgs, metrics::roc::Roc};
use crate::thresholds_file::{AntispoofEntry, DeepfakeEntry, RecognitionEntry, ThresholdsFile};

/// Whether the thresholds are to decide.
#[derive(Debug, Clone, Copy, Args)]
pub struct ApplyArgs {
    /// Write the thresholds found here to the file that --thresholds-file names, which need not exist. Programs started with
    /// that file decide by them.
    #[arg(long)]
    pub apply: bool,
}

impl ApplyArgs {
    /// The file to write to, if one is to be written.
    ///
    /// # Errors
    /// No file is named.
    pub fn target(self, data: &DataArgs) -> anyhow::Result<Option<PathBuf>> {
        if !self.apply {
            return Ok(None);
        }
        let file = data.run.networks.thresholds_file.clone();
        file.map(Some)
            .context("--apply needs --thresholds-file FILE (or FACESOCIAL_THRESHOLDS_FILE), which it writes to")
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Applied {
    /// The file.
    pub file: String,
    /// The network it is for.
    pub model: ModelId,
    /// The thresholds.
    pub thresholds: String,
}

impl Applied {
    /// The same for people.
    pub fn sentence(&self) -> String {
        format!("written to {}: {} for {}", self.file, self.thresholds, self.model)
    }
}

/// False accept rates of the thresholds that are written; the last is left out where the set cannot tell it.
const RATES: [f64; 3] = [1e-2, 1e-3, 1e-4];

/// Writes the similarities of an ensemble.
///
/// # Errors
/// Too few pairs of strangers for one false accept in a thousand, strangers who cannot be told apart, a file that cannot be
/// written.
pub fn recognition(file: &Path, model: &ModelId, roc: &Roc, set: &str) -> anyhow::Result<Applied> {
    let strangers = roc.negatives();
    // Fewer than one expected false accept: the threshold would be made up.
    let told = |rate: f64| rate * strangers as f64 >= 1.0;
    ensure!(
        told(RATES[1]),
        "{strangers} pairs of strangers with faces cannot tell one false accept in a thousand; at least 1000 are needed"
    );
    let of = |rate: &f64| format!("{rate:e}={}", at_least(roc.at_far(*rate).threshold));
    let thresholds = RATES.iter().filter(|r| told(**r)).map(of).collect::<Vec<_>>().join(",");
    if let Err(reason) = thresholds.parse::<Thresholds>() {
        bail!("{thresholds} cannot decide: {reason}");
    }
    let measured = Some(format!("{}, {strangers} pairs of strangers of {set}", today()));
    write(file, |f| {
        f.set_recognition(RecognitionEntry { model: model.clone(), thresholds: thresholds.clone(), measured });
    })?;
    Ok(Applied { file: file.display().to_string(), model: model.clone(), thresholds })
}

/// Writes the scores of a liveness network.
///
/// # Errors
/// A file that cannot be written.
pub fn antispoof(file: &Path, model: &ModelId, band: Band, set: &str) -> anyhow::Result<Applied> {
    let (spoof, live) = (band.low(), band.high());
    let entry = AntispoofEntry { model: model.clone(), spoof, live, measured: Some(format!("{}, {set}", today())) };
    write(file, |f| f.set_antispoof(entry))?;
    let thresholds = format!("attack below {spoof}, live from {live}");
    Ok(Applied { file: file.display().to_string(), model: model.clone(), thresholds })
}

/// Writes the probabilities of a deepfake network.
///
/// # Errors
/// A file that cannot be written.
pub fn deepfake(file: &Path, model: &ModelId, band: Band, set: &str) -> anyhow::Result<Applied> {
    let (real, fake) = (band.low(), band.high());
    let entry = DeepfakeEntry { model: model.clone(), real, fake, measured: Some(format!("{}, {set}", today())) };
    write(file, |f| f.set_deepfake(entry))?;
    let thresholds = format!("photograph below {real}, fake from {fake}");
    Ok(Applied { file: file.display().to_string(), model: model.clone(), thresholds })
}

/// The two thresholds that accept at most `far` of the negatives (of every one of `curves`, which have the same positives) and
/// refuse at most `frr` of the positives; what lies between is uncertain. Where the classes lie further apart than was asked
/// for, nothing is uncertain: both are half-way.
///
/// # Errors
/// Too few samples of a class for its rate.
pub fn band(curves: &[Roc], far: f64, frr: f64, classes: [&str; 2]) -> anyhow::Result<Band> {
    let enough = |rate: f64, count: usize, class: &str| {
        ensure!(rate > 0.0, "no set of {class} can tell a rate of 0; ask for a share above it");
        let needed = (1.0 / rate).ceil();
        ensure!(count as f64 >= needed, "{count} {class} cannot tell a rate of {rate}; at least {needed} are needed");
        Ok(())
    };
    let Some(first) = curves.first() else { bail!("no samples to choose thresholds by") };
    for roc in curves {
        enough(far, roc.negatives(), classes[0])?;
    }
    enough(frr, first.positives(), classes[1])?;
    let high = curves.iter().map(|roc| roc.at_far(far).threshold).fold(0.0, f64::max);
    let low = first.at_frr(frr).threshold;
    let (low, high) = if low > high { (f64::midpoint(low, high), f64::midpoint(low, high)) } else { (low, high) };
    let high = at_least(high).min(1.0);
    // As a 32-bit number the lower one may round up past the upper.
    Ok(Band::new((low as f32).clamp(0.0, high), high)?)
}

/// The lowest 32-bit number that is not below `threshold`: what was to be refused stays refused.
fn at_least(threshold: f64) -> f32 {
    let near = threshold as f32;
    if f64::from(near) < threshold { near.next_up() } else { near }
}

fn write(file: &Path, change: impl FnOnce(&mut ThresholdsFile)) -> anyhow::Result<()> {
    let mut content = ThresholdsFile::read_or_empty(file)?;
    change(&mut content);
    content.write(file)?;
    Ok(())
}

fn today() -> String {
    OffsetDateTime::now_utc().date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::roc::Scored;

    fn roc(positives: &[f64], negatives: &[f64]) -> Roc {
        let of =
            |scores: &[f64], positive| scores.iter().map(move |&score| Scored { score, positive }).collect::<Vec<_>>();
        Roc::new(&[of(positives, true), of(negatives, false)].concat()).unwrap()
    }

    #[test]
    fn thresholds_keep_what_was_asked_for() {
        let positives: Vec<f64> = (0..100).map(|i| 0.5 + f64::from(i) * 0.005).collect();
        let negatives: Vec<f64> = (0..100).map(|i| f64::from(i) * 0.006).collect();
        // Of 100 negatives two may be accepted: those at 0.594 and 0.588; of 100 positives five refused.
        let found = band(&[roc(&positives, &negatives)], 0.02, 0.05, ["attacks", "live faces"]).unwrap();
        assert!((found.low() - 0.525).abs() < 1e-6 && found.high() > 0.582 && found.high() <= 0.588, "{found:?}");
        // A species that passes more easily decides.
        let easy: Vec<f64> = negatives.iter().map(|v| v + 0.2).collect();
        let worst = band(&[roc(&positives, &negatives), roc(&positives, &easy)], 0.02, 0.05, ["a", "b"]).unwrap();
        assert!(worst.high() > 0.78, "{worst:?}");
        // Far apart: nothing is uncertain.
        let apart: Vec<f64> = negatives.iter().map(|v| v / 6.0).collect();
        let clear = band(&[roc(&positives, &apart)], 0.02, 0.05, ["a", "b"]).unwrap();
        assert_eq!(clear.low(), clear.high());
        let message = band(&[roc(&positives, &[0.1; 20])], 0.02, 0.05, ["attacks", "b"]).unwrap_err().to_string();
        assert_eq!(message, "20 attacks cannot tell a rate of 0.02; at least 50 are needed");
        let never = band(&[roc(&positives, &negatives)], 0.0, 0.05, ["attacks", "b"]).unwrap_err().to_string();
        assert_eq!(never, "no set of attacks can tell a rate of 0; ask for a share above it");
    }

    #[test]
    fn an_ensembles_thresholds_are_written_as_far_as_the_set_tells_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("thresholds.toml");
        let model = ModelId::new("ensemble", "1");
        let strangers: Vec<f64> = (0..2000).map(|i| f64::from(i) / 4000.0).collect();
        let applied = recognition(&file, &model, &roc(&[0.9, 0.8], &strangers), "a set").unwrap();
        assert_eq!(applied.thresholds, "1e-2=0.495,1e-3=0.4995");
        let read = ThresholdsFile::read(&file).unwrap().chosen(&file).unwrap();
        assert_eq!(read.recognition[&model].to_string(), applied.thresholds);
        let few = recognition(&file, &model, &roc(&[0.9], &strangers[..999]), "a set").unwrap_err().to_string();
        assert!(few.contains("999 pairs of strangers") && few.contains("at least 1000"), "{few}");
        let band = Band::new(0.25, 0.5).unwrap();
        antispoof(&file, &ModelId::new("tree", "1"), band, "a set").unwrap();
        deepfake(&file, &ModelId::new("net", "1"), band, "a set").unwrap();
        let read = ThresholdsFile::read(&file).unwrap();
        assert_eq!((read.recognition.len(), read.antispoof[0].live, read.deepfake[0].real), (1, 0.5, 0.25));
    }

    #[test]
    fn rounding_lets_nobody_through() {
        let refused = 0.3_f32;
        assert!(at_least(f64::from(refused).next_up()) > refused);
        assert_eq!(at_least(f64::from(refused)), refused);
    }
}
