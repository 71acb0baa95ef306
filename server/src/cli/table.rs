//! Text tables, and the table of one analysed photo.

use std::{collections::BTreeMap, fmt::Write};

use facesocial_types::{
    Analysis, Analyzer, AnalyzerSet, AntiSpoof, Deepfake, DeepfakeDecision, FaceAnalysis, Gender, GenderAge,
    LivenessDecision, Outcome, Quality, QualityReason, Recognition,
};

/// Rows of cells under a head, columns as wide as their widest cell.
#[derive(Debug, Clone, Default)]
pub struct TextTable {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with the column names `head`.
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells stay empty.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The names of the columns.
    pub fn head(&self) -> &[String] {
        &self.head
    }

    /// The rows.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// The table, each line indented by two spaces and ended by a line feed. Columns whose cells are all figures stand
    /// flush right.
    pub fn render(&self) -> String {
        let width = |s: &str| s.chars().count();
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let columns = all().map(Vec::len).max().unwrap_or(0);
        let column = |c: usize| self.rows.iter().filter_map(move |r| r.get(c));
        let widths: Vec<usize> =
            (0..columns).map(|c| all().filter_map(|r| r.get(c)).map(|s| width(s)).max().unwrap_or(0)).collect();
        let figures = |s: &String| s.chars().all(|ch| ch.is_ascii_digit() || ".-+%".contains(ch));
        let right: Vec<bool> = (0..columns).map(|c| column(c).next().is_some() && column(c).all(figures)).collect();
        let mut out = String::new();
        for row in all() {
            let mut line = String::new();
            for c in 0..columns {
                let cell = row.get(c).map_or("", String::as_str);
                let pad = " ".repeat(widths[c] - width(cell));
                line += "  ";
                line += &if right[c] { pad + cell } else { format!("{cell}{pad}") };
            }
            out += line.trim_end();
            out.push('\n');
        }
        out
    }
}

/// What cannot be answered, told once for all photos.
#[derive(Debug, Clone, Default)]
pub struct Notes(BTreeMap<&'static str, String>);

impl Notes {
    /// The notes as lines under the tables.
    pub fn render(&self) -> String {
        self.0.iter().fold(String::new(), |mut out, (what, reason)| {
            let _ = writeln!(out, "{what}: unavailable: {reason}");
            out
        })
    }
}

/// The table of one photo. Services without an answer fill `notes` instead of every cell.
pub fn photo(path: &str, analysis: &Analysis, asked: AnalyzerSet, notes: &mut Notes) -> String {
    let count = match analysis.faces.len() {
        0 => "no face".to_owned(),
        1 => "1 face".to_owned(),
        n => format!("{n} faces"),
    };
    let mut out = format!("{path}  {} x {}  {count}\n", analysis.width, analysis.height);
    if analysis.faces.is_empty() {
        return out;
    }
    let mut problems = Vec::new();
    let head = ["#", "box", "score"].into_iter().chain(asked.iter().map(heading));
    let mut table = TextTable::new(head);
    for face in &analysis.faces {
        let b = face.bbox;
        let mut cells = vec![
            face.index.to_string(),
            format!("{:.0},{:.0} {:.0}x{:.0}", b.x, b.y, b.width, b.height),
            format!("{:.2}", face.score),
        ];
        for analyzer in asked.iter() {
            cells.push(answer(face, analyzer, notes, &mut problems));
        }
        table.row(cells);
    }
    out += &table.render();
    for problem in problems {
        let _ = writeln!(out, "  {problem}");
    }
    out
}

const fn heading(analyzer: Analyzer) -> &'static str {
    match analyzer {
        Analyzer::Quality => "quality",
        Analyzer::Recognition => "embedding",
        Analyzer::Antispoof => "live",
        Analyzer::GenderAge => "age, gender",
        Analyzer::Deepfake => "fake",
    }
}

fn answer(face: &FaceAnalysis, analyzer: Analyzer, notes: &mut Notes, problems: &mut Vec<String>) -> String {
    let cell = match analyzer {
        Analyzer::Quality => face.quality.as_ref().map(|o| map(o, quality)),
        Analyzer::Recognition => face.recognition.as_ref().map(|o| map(o, recognition)),
        Analyzer::Antispoof => face.antispoof.as_ref().map(|o| map(o, antispoof)),
        Analyzer::GenderAge => face.gender_age.as_ref().map(|o| map(o, gender_age)),
        Analyzer::Deepfake => face.deepfake.as_ref().map(|o| map(o, deepfake)),
    };
    match cell {
        Some(Outcome::Done(text)) => text,
        Some(Outcome::Unavailable { reason }) => {
            notes.0.insert(analyzer.as_str(), reason);
            "-".to_owned()
        }
        Some(Outcome::Error { reason, .. }) => {
            problems.push(format!("face {}: {analyzer}: {reason}", face.index));
            "failed".to_owned()
        }
        None => String::new(),
    }
}

fn map<T>(outcome: &Outcome<T>, text: fn(&T) -> String) -> Outcome<String> {
    match outcome {
        Outcome::Done(value) => Outcome::Done(text(value)),
        Outcome::Unavailable { reason } => Outcome::Unavailable { reason: reason.clone() },
        Outcome::Error { reason, failure } => Outcome::Error { reason: reason.clone(), failure: *failure },
    }
}

fn quality(q: &Quality) -> String {
    let reasons: Vec<&str> = q.reasons.iter().map(|r| short(*r)).collect();
    format!("{:.2} {}", q.score, reasons.join(", ")).trim_end().to_owned()
}

const fn short(reason: QualityReason) -> &'static str {
    match reason {
        QualityReason::SmallFace => "small",
        QualityReason::Blurred => "blurred",
        QualityReason::TooDark => "dark",
        QualityReason::TooBright => "bright",
        QualityReason::LowContrast => "flat",
        QualityReason::Noisy => "noisy",
        QualityReason::ExtremePose => "turned",
        QualityReason::Occluded => "covered",
        QualityReason::CutOff => "cut off",
    }
}

fn recognition(r: &Recognition) -> String {
    format!("{}-d", r.embedding.as_slice().len())
}

fn antispoof(a: &AntiSpoof) -> String {
    format!("{} {:.2}", liveness(a.decision), a.score)
}

fn gender_age(g: &GenderAge) -> String {
    let range = g.age_range.map(|[low, high]| format!(" ({low}-{high})")).unwrap_or_default();
    format!("{:.0}{range}, {} {:.2}", g.age, gender(g.gender), g.gender_score)
}

fn deepfake(d: &Deepfake) -> String {
    let decision = match d.decision {
        DeepfakeDecision::Real => "real",
        DeepfakeDecision::Fake => "fake",
        DeepfakeDecision::Uncertain => "uncertain",
    };
    format!("{decision} {:.2}", d.score)
}

/// The decision as a word.
pub const fn liveness(decision: LivenessDecision) -> &'static str {
    match decision {
        LivenessDecision::Live => "live",
        LivenessDecision::Spoof => "spoof",
        LivenessDecision::Uncertain => "uncertain",
    }
}

/// The label as a word.
pub const fn gender(gender: Gender) -> &'static str {
    match gender {
        Gender::Female => "female",
        Gender::Male => "male",
    }
}

#[cfg(test)]
mod tests {
    use facesocial_types::Failure;

    use super::{super::annotate::tests::analysis, *};

    #[test]
    fn columns_align_and_figures_stand_right() {
        let mut table = TextTable::new(["name", "n"]);
        table.row(["a", "1"]);
        table.row(["long", "-10.5"]);
        table.row(["é"]);
        assert_eq!(table.render(), "  name      n\n  a         1\n  long  -10.5\n  é\n");
    }

    #[test]
    fn a_photo_is_a_table_and_an_absent_service_one_note() {
        let mut notes = Notes::default();
        let text = photo("p.jpg", &analysis(), AnalyzerSet::ALL, &mut notes);
        assert_eq!(
            text,
            "p.jpg  200 x 150  1 face\n\
             \x20 #  box          score  quality                embedding  live       age, gender              fake\n\
             \x20 0  40,50 60x70   0.99  0.81 blurred, cut off  2-d        live 0.93  31 (25-38), female 0.98     -\n"
        );
        assert_eq!(notes.render(), "deepfake: unavailable: no network\n");
        let mut empty = analysis();
        empty.faces.clear();
        assert_eq!(photo("e.jpg", &empty, AnalyzerSet::ALL, &mut notes), "e.jpg  200 x 150  no face\n");
    }

    #[test]
    fn an_answer_that_failed_is_told_under_the_table() {
        let mut failed = analysis();
        failed.faces[0].antispoof = Some(Outcome::Error { reason: "no crop".to_owned(), failure: Failure::Lasting });
        let only: AnalyzerSet = [Analyzer::Antispoof].into_iter().collect();
        let text = photo("p.jpg", &failed, only, &mut Notes::default());
        assert!(text.contains("failed") && text.ends_with("  face 0: antispoof: no crop\n"), "{text}");
        assert!(!text.contains("quality"), "{text}");
    }
}
