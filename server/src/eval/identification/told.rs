//! The report of an identification set.

use std::path::Path;

use super::{
    IdentificationReport,
    search::Found,
    set::{Photo, Set},
};
use crate::{
    cli::table::TextTable,
    eval::{
        Report, four, groups,
        report::{
            Page,
            chart::{Axis, Chart, Series},
            pictures::Picture,
        },
        scores, within,
    },
};

/// Searches shown of each kind of failure.
const SHOWN: usize = 24;

impl Report for IdentificationReport {
    fn page(&self) -> Page {
        let mut page = Page::new(format!(
            "identification on {}: {} persons with {} photos enrolled, {} searches of enrolled persons, {} of strangers",
            self.data, self.persons, self.gallery, self.mated, self.strangers
        ));
        page.text(format!(
            "{}; detector {}; no face to align in {} photos of the gallery, {} probes: a search that finds nobody",
            self.split, self.detector, self.gallery_without_face, self.probes_without_face
        ));
        let mut ranks = TextTable::new(["model", "rank 1", "rank 5", "rank 10", "rank 20"]);
        let mut points =
            TextTable::new(["model", "FPIR at most", "threshold", "FPIR", "strangers named", "FNIR", "30 errors"]);
        for m in &self.models {
            let at = |rank: usize| m.cumulative_match.get(rank - 1).copied().map_or("-".to_owned(), four);
            ranks.row([m.model.clone(), within(m.rank_1, Some(m.rank_1_interval)), at(5), at(10), at(20)]);
            for p in &m.operating_points {
                points.row([
                    m.model.clone(),
                    p.fpir_target.to_string(),
                    four(p.threshold),
                    four(p.fpir),
                    p.false_positives.to_string(),
                    within(p.fnir, Some(p.fnir_interval)),
                    if p.rule_of_30 { "yes" } else { "no" }.to_owned(),
                ]);
            }
        }
        page.table(ranks);
        if points.rows().is_empty() {
            page.text(
                "everybody who is looked for is enrolled, so that nothing is known of strangers: no FPIR, no FNIR",
            );
        } else {
            page.table(points);
            page.text(
                "FPIR: searches of strangers that name somebody. FNIR: searches of enrolled persons that do not name them \
                 first. In brackets: 95 %. Both rise with the number of enrolled persons",
            );
        }
        groups::tell(&mut page, &self.groups);
        page
    }
}

/// Writes of every probe and model the score and rank of the right person and the best score of anybody else.
pub(super) fn write_scores(path: &Path, set: &Set, models: &[String], found: &[Vec<Found>]) -> anyhow::Result<()> {
    let head = ["model", "file", "identity", "mated", "right_score", "rank", "wrong_score", "group"];
    let rows = models.iter().zip(found).flat_map(|(model, found)| {
        set.probes.iter().zip(found).map(move |(probe, f)| {
            let cell = |value: Option<String>| value.unwrap_or_default();
            vec![
                model.clone(),
                probe.name.clone(),
                probe.identity.clone(),
                scores::flag(f.search.mated),
                cell(f.search.right.map(|r| r.0.to_string())),
                cell(f.search.right.map(|r| r.1.to_string())),
                cell(f.search.wrong.map(|w| w.to_string())),
                cell(probe.group.clone()),
            ]
        })
    });
    scores::write(path, &head, rows)
}

/// Adds the curve of ranks, the scores, and the searches that the first model gets most wrong.
pub(super) fn illustrate(
    page: &mut Page,
    set: &Set,
    found: &[Vec<Found>],
    report: &IdentificationReport,
) -> anyhow::Result<()> {
    let ranks = report.models.iter().map(|m| Series {
        name: m.model.clone(),
        points: m.cumulative_match.iter().enumerate().map(|(i, v)| ((i + 1) as f64, *v)).collect(),
    });
    let lowest = report.models.iter().map(|m| m.rank_1).fold(1.0, f64::min);
    let mut charts = vec![Chart::lines(
        "cumulative match",
        Axis::linear("rank", 1.0, super::RANKS as f64),
        Axis::linear("persons found", (lowest - 0.05).max(0.0), 1.0),
        ranks.collect(),
    )];
    let first = &found[0];
    let right = first.iter().filter_map(|f| Some(f.search.right?.0)).collect();
    let strangers = first.iter().filter(|f| !f.search.mated).filter_map(|f| f.search.wrong).collect();
    let classes = vec![("the right person".to_owned(), right), ("strangers' best".to_owned(), strangers)];
    charts.push(Chart::histogram("scores of the first model", "similarity", classes));
    page.charts(charts);

    let picture = |(probe, other, score, what): &(&Photo, &Photo, f64, &str)| {
        let caption = format!("{score:.3}: {} / {what} {}", probe.name, other.name);
        Picture::of(&[&probe.path, &other.path], caption)
    };
    let all = || set.probes.iter().zip(first);
    let mut named: Vec<(&Photo, &Photo, f64, &str)> = all()
        .filter(|(_, f)| !f.search.mated)
        .filter_map(|(p, f)| Some((p, &set.gallery[f.wrong?], f.search.wrong?, "taken for")))
        .collect();
    named.sort_by(|a, b| b.2.total_cmp(&a.2));
    let mut missed: Vec<(&Photo, &Photo, f64, &str)> = all()
        .filter(|(_, f)| f.search.right.is_some_and(|r| r.1 > 1))
        .filter_map(|(p, f)| Some((p, &set.gallery[f.right?], f.search.right?.0, "is")))
        .collect();
    missed.sort_by(|a, b| a.2.total_cmp(&b.2));
    let show =
        |rows: &[(&Photo, &Photo, f64, &str)]| rows.iter().take(SHOWN).map(picture).collect::<anyhow::Result<_>>();
    page.pictures("Strangers most alike to somebody enrolled", show(&named)?);
    page.pictures(format!("Enrolled persons who are not first, {} in all", missed.len()), show(&missed)?);
    Ok(())
}
