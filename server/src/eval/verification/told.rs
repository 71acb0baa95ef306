//! The report of a verification set.

use std::path::Path;

use super::{
    measure::{PointReport, VerificationReport},
    pairs::Pairs,
    similarities::Similarities,
};
use crate::{
    cli::table::TextTable,
    eval::{
        Report,
        curves::{Names, roc_and_det},
        four, groups,
        metrics::roc::Roc,
        report::{Page, chart::Chart, pictures::Picture},
        within,
    },
};

/// Pairs shown of each kind of failure.
const SHOWN: usize = 24;

impl Report for VerificationReport {
    fn page(&self) -> Page {
        let mut page = Page::new(format!(
            "verification on {}: {} pairs ({} same person, {} different) of {} photos, detector {}",
            self.pairs_file, self.pairs, self.same, self.different, self.images, self.detector
        ));
        page.text(format!(
            "no face to align in {} photos, {} pairs: wrong in the accuracy, rejected in TAR, not in AUC, EER and FAR",
            self.images_without_face, self.pairs_without_face
        ));
        page.text(format!(
            "accuracy over {} folds ({}), each decided with the threshold best on the others; +- is their deviation",
            self.folds.count, self.folds.source
        ));
        let mut summary = TextTable::new(["model", "accuracy", "+-", "AUC", "EER"]);
        let head = ["model", "FAR at most", "threshold", "FAR", "strangers accepted", "TAR", "chosen", "30 errors"];
        let mut points = TextTable::new(head);
        for m in &self.models {
            let (auc, eer) = (within(m.auc, m.auc_interval), within(m.eer, m.eer_interval));
            summary.row([m.model.clone(), four(m.accuracy), four(m.accuracy_std), auc, eer]);
            let here = m.operating_points.iter().map(|p| (p, "here"));
            for (p, how) in here.chain(m.current_thresholds.iter().map(|p| (p, "as set"))) {
                points.row(point_row(&m.model, p, how));
            }
        }
        page.table(summary);
        page.table(points);
        page.text(
            "in brackets: 95 % by the bootstrap over pairs, too narrow where pairs share people. 30 errors: whether so \
             many strangers are compared that the rate asked for gives 30 false accepts; below that the threshold is a guess",
        );
        groups::tell(&mut page, &self.groups);
        if let Some(applied) = &self.applied {
            page.text(applied.sentence());
        }
        page
    }
}

fn point_row(model: &str, p: &PointReport, how: &str) -> [String; 8] {
    [
        model.to_owned(),
        p.far_target.to_string(),
        four(p.threshold),
        format!("{:.5}", p.far),
        p.false_accepts.to_string(),
        within(p.tar, p.tar_interval),
        how.to_owned(),
        if p.rule_of_30 { "yes" } else { "no" }.to_owned(),
    ]
}

/// Adds the curves of all models, and of the first one the scores and the pairs that it gets wrong.
pub(super) fn illustrate(
    page: &mut Page,
    pairs: &Pairs,
    similarities: &Similarities,
    curves: &[(String, Roc)],
    report: &VerificationReport,
) -> anyhow::Result<()> {
    let named: Vec<(String, &Roc)> = curves.iter().map(|(name, roc)| (name.clone(), roc)).collect();
    let names = Names { far: "false accept rate", tar: "true accept rate", frr: "false reject rate" };
    page.charts(roc_and_det(&named, names));
    let histogram = |(m, (name, _)): (usize, &(String, Roc))| {
        let scores = similarities.of_model(m);
        let of = |same: bool| {
            let kind = scores.iter().zip(&pairs.pairs).filter(|(_, p)| p.same == same);
            kind.filter_map(|(score, _)| *score).collect()
        };
        let classes = vec![("same person".to_owned(), of(true)), ("different people".to_owned(), of(false))];
        Chart::histogram(format!("similarities, {name}"), "similarity", classes)
    };
    page.charts(curves.iter().enumerate().map(histogram).collect());

    let threshold = report.models[0].eer_threshold;
    let mut wrong: Vec<(usize, f64)> =
        similarities.of_model(0).into_iter().enumerate().filter_map(|(i, s)| Some((i, s?))).collect();
    wrong.retain(|(i, s)| (*s >= threshold) != pairs.pairs[*i].same);
    wrong.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (same, different): (Vec<_>, Vec<_>) = wrong.into_iter().partition(|(i, _)| pairs.pairs[*i].same);
    let show = |shown: &[(usize, f64)]| -> anyhow::Result<Vec<Picture>> {
        let one = |(i, score): &(usize, f64)| {
            let pair = &pairs.pairs[*i];
            let paths: Vec<&Path> = pair.images.iter().map(|n| pairs.images[*n].as_path()).collect();
            Picture::of(&paths, format!("{score:.3}: {} / {}", pair.names[0], pair.names[1]))
        };
        shown.iter().map(one).collect()
    };
    page.pictures(
        format!("Different people most alike, of {} above the threshold of the EER", different.len()),
        show(&different[..different.len().min(SHOWN)])?,
    );
    // The least alike first.
    let least: Vec<_> = same.iter().rev().copied().take(SHOWN).collect();
    page.pictures(format!("The same person least alike, of {} below it", same.len()), show(&least)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            measure::{Measured, measure},
            tests::set,
        },
        *,
    };

    #[test]
    fn the_report_names_the_set_and_the_groups() {
        let (dir, mut pairs, embedded) = set();
        // Mislabelled, so that something is wrong.
        pairs.pairs[0].same = false;
        let similarities = Similarities::of(&pairs, &embedded).unwrap();
        let Measured { report, curves } = measure(&pairs, &similarities, 20, &[]).unwrap();
        let mut page = report.page();
        let text = page.render();
        assert!(text.contains("9 pairs (4 same person, 5 different)") && text.contains("good@1"), "{text}");
        assert!(text.contains("error rates by group"), "{text}");
        illustrate(&mut page, &pairs, &similarities, &curves, &report).unwrap();
        let path = dir.path().join("report.html");
        page.write_html(&path).unwrap();
        let html = std::fs::read_to_string(path).unwrap();
        // Two curves, two histograms; the wrong pair with both photos.
        assert_eq!(html.matches("<svg").count(), 4);
        assert_eq!(html.matches("<img").count(), 2);
        assert!(html.contains("0.png / 1.png"));
    }
}
