//! Similarities of all pairs by all models.

use std::path::Path;

use super::pairs::{Pair, Pairs};
use crate::eval::{
    embedded::{self, Embedded},
    scores,
};

/// Similarities of all pairs by all models.
pub(super) struct Similarities {
    /// The fused one first.
    pub models: Vec<String>,
    /// `[pair][model]`; `None` where a photo shows no face.
    pub pairs: Vec<Option<Vec<f64>>>,
}

impl Similarities {
    pub fn of(pairs: &Pairs, embedded: &[Embedded]) -> anyhow::Result<Self> {
        let models = embedded::models(embedded)?.iter().map(ToString::to_string).collect();
        let similarity = |pair: &Pair| -> anyhow::Result<Option<Vec<f64>>> {
            let [Some(a), Some(b)] = pair.images.map(|i| embedded[i].as_ref()) else { return Ok(None) };
            let both = a.iter().zip(b).map(|(a, b)| Ok(f64::from(a.cosine(b)?)));
            both.collect::<anyhow::Result<_>>().map(Some)
        };
        Ok(Self { models, pairs: pairs.pairs.iter().map(similarity).collect::<anyhow::Result<_>>()? })
    }

    /// Of one model, in the order of the pairs.
    pub fn of_model(&self, model: usize) -> Vec<Option<f64>> {
        self.pairs.iter().map(|s| Some(s.as_ref()?[model])).collect()
    }

    pub fn write(&self, path: &Path, pairs: &Pairs) -> anyhow::Result<()> {
        let fixed = ["img1", "img2", "same", "fold", "group"];
        let head: Vec<String> = fixed.into_iter().map(str::to_owned).chain(self.models.iter().cloned()).collect();
        let rows = pairs.pairs.iter().zip(&self.pairs).map(|(pair, similarities)| {
            let cell = |m: usize| similarities.as_ref().map_or(String::new(), |s| s[m].to_string());
            let [first, second] = pair.names.clone();
            let (fold, group) = (pair.fold.clone().unwrap_or_default(), pair.group.clone().unwrap_or_default());
            let labels = [first, second, scores::flag(pair.same), fold, group];
            labels.into_iter().chain((0..self.models.len()).map(cell)).collect()
        });
        scores::write(path, &head, rows)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::tests::set, *};

    #[test]
    fn scores_are_written_with_an_empty_cell_where_a_face_is_missing() {
        let (dir, pairs, embedded) = set();
        let path = dir.path().join("scores.csv");
        Similarities::of(&pairs, &embedded).unwrap().write(&path, &pairs).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "img1,img2,same,fold,group,good@1,blind@1");
        assert!(lines[1].starts_with("0.png,1.png,1,,x,") && lines[1].ends_with(",1"), "{}", lines[1]);
        assert_eq!(lines[5], "0.png,8.png,1,,y,,");
    }

    #[test]
    fn a_set_without_faces_is_an_error() {
        let (_dir, pairs, embedded) = set();
        assert!(Similarities::of(&pairs, &vec![None; embedded.len()]).is_err());
    }
}
