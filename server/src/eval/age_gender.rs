//! `facesocial eval age-gender`: errors of estimated age and gender.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use facesocial_types::{Analyzer, AnalyzerSet, Gender, Service};
use serde::{Deserialize, Serialize};

use super::{
    DataArgs, Report,
    asked::{self, FaceArgs},
    faces, figure, four,
    groups::{self, GroupRates, by_group},
    interval,
    labels::{Column, LabelError, Labels, Row},
    metrics::{
        MetricError,
        age::{AgeErrors, AgeSample, age_errors, by_decade},
        interval::wilson,
    },
    report::{Page, chart::Chart},
    scores, tell, worst,
};
use crate::cli::{json::VERSION, table::TextTable};

/// Options of `facesocial eval age-gender`.
#[derive(Debug, Args)]
pub struct AgeGenderArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    face: FaceArgs,
}

const FILE: Column = &["file"];
const AGE: Column = &["age"];
const GENDER: Column = &["gender", "sex"];
/// Older ages are taken for a mistake of the table.
const OLDEST: f64 = 130.0;

fn age(row: &Row<'_>, column: usize) -> Result<f64, LabelError> {
    let age = row.number(column)?;
    if (0.0..=OLDEST).contains(&age) { Ok(age) } else { Err(row.bad(column, "an age from 0 to 130")) }
}

fn gender(row: &Row<'_>, column: usize) -> Result<Gender, LabelError> {
    match row.text(column).to_ascii_lowercase().as_str() {
        "female" | "f" | "woman" => Ok(Gender::Female),
        "male" | "m" | "man" => Ok(Gender::Male),
        _ => Err(row.bad(column, "female or male")),
    }
}

/// The labels of one photo.
struct Label {
    name: String,
    path: PathBuf,
    age: f64,
    gender: Gender,
    group: Option<String>,
}

/// What was said of one photo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Said {
    age: f32,
    range: Option<[u8; 2]>,
    gender: Gender,
    /// Probability of the gender.
    gender_score: f32,
}

/// One photo.
struct Sample {
    age: f64,
    gender: Gender,
    group: Option<String>,
    answer: Said,
    face_found: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct AgeGenderReport {
    version: u32,
    task: &'static str,
    data: String,
    model: String,
    detector: String,
    without_face: usize,
    age: AgeReport,
    decades: Vec<DecadeReport>,
    gender: GenderReport,
    /// Errors of age by group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    age_by_group: Vec<GroupAgeReport>,
    /// Wrong genders by group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<GroupRates>,
}

#[derive(Debug, Serialize)]
struct GroupAgeReport {
    group: String,
    #[serde(flatten)]
    age: AgeReport,
}

#[derive(Debug, Serialize)]
struct AgeReport {
    count: usize,
    mae: f64,
    bias: f64,
    /// `None` of a network that states no range.
    range_coverage: Option<f64>,
    range_width: Option<f64>,
}

#[derive(Debug, Serialize)]
struct DecadeReport {
    from: u32,
    #[serde(flatten)]
    age: AgeReport,
    gender_accuracy: f64,
}

#[derive(Debug, Serialize)]
struct GenderReport {
    accuracy: f64,
    accuracy_interval: [f64; 2],
    /// Share of those labelled female that were called so; `None` without any.
    female_recall: Option<f64>,
    male_recall: Option<f64>,
}

impl From<AgeErrors> for AgeReport {
    fn from(e: AgeErrors) -> Self {
        Self {
            count: e.count,
            mae: figure(e.mae),
            bias: figure(e.bias),
            range_coverage: e.coverage.map(figure),
            range_width: e.range_width.map(figure),
        }
    }
}

fn read_set(data: &DataArgs) -> Result<Vec<Label>, LabelError> {
    let labels = Labels::read(&data.table("labels.csv"), &[FILE, AGE, GENDER], &[], data.group())?;
    let label = |r: Row<'_>| {
        Ok(Label {
            name: r.text(0).to_owned(),
            path: r.image(0, &data.data)?,
            age: age(&r, 1)?,
            gender: gender(&r, 2)?,
            group: r.group().map(str::to_owned),
        })
    };
    labels.rows(data.limit()).map(label).collect()
}

/// Runs the command.
///
/// # Errors
/// See [`super`].
pub fn run(args: &AgeGenderArgs) -> anyhow::Result<ExitCode> {
    let data = &args.data;
    let labels = read_set(data)?;
    let paths: Vec<PathBuf> = labels.iter().map(|l| l.path.clone()).collect();
    let wanted: AnalyzerSet = [Analyzer::GenderAge].into_iter().collect();
    let pipeline = data.load(wanted, false)?;
    let model = asked::model(&pipeline, Service::GenderAge)?;
    let question = format!("age and gender by {model}");
    let answers = asked::ask(&pipeline, data, args.face, &paths, &question, Analyzer::GenderAge, |face| {
        let said = faces::done(face.gender_age)?;
        Ok(Said { age: said.age, range: said.age_range, gender: said.gender, gender_score: said.gender_score })
    })?;
    let sample = |(answered, label): (asked::Answered<Said>, &Label)| Sample {
        age: label.age,
        gender: label.gender,
        group: label.group.clone(),
        answer: answered.answer,
        face_found: answered.face_found,
    };
    let samples: Vec<Sample> = answers.into_iter().zip(&labels).map(sample).collect();
    if let Some(path) = &data.scores {
        write_scores(path, &labels, &samples)?;
    }
    let mut report = measure(&samples)?;
    report.data = data.name();
    report.model = model.to_string();
    report.detector = args.face.detector.to_string();
    tell(&report, data, |page| illustrate(page, &labels, &samples, &report))
}

fn write_scores(path: &Path, labels: &[Label], samples: &[Sample]) -> anyhow::Result<()> {
    let name = |gender: Gender| if gender == Gender::Female { "female" } else { "male" }.to_owned();
    let head = [
        "file",
        "age",
        "gender",
        "said_age",
        "range_from",
        "range_to",
        "said_gender",
        "gender_score",
        "face_found",
        "group",
    ];
    let rows = labels.iter().zip(samples).map(|(label, s)| {
        let end = |i: usize| s.answer.range.map_or(String::new(), |r| r[i].to_string());
        vec![
            label.name.clone(),
            label.age.to_string(),
            name(label.gender),
            s.answer.age.to_string(),
            end(0),
            end(1),
            name(s.answer.gender),
            s.answer.gender_score.to_string(),
            scores::flag(s.face_found),
            label.group.clone().unwrap_or_default(),
        ]
    });
    scores::write(path, &head, rows)
}

fn measure(samples: &[Sample]) -> Result<AgeGenderReport, MetricError> {
    let ages: Vec<AgeSample> = samples
        .iter()
        .map(|s| AgeSample {
            truth: s.age,
            estimate: f64::from(s.answer.age),
            range: s.answer.range.map(|r| r.map(f64::from)),
        })
        .collect();
    let right = |of: &dyn Fn(&Sample) -> bool| {
        let group: Vec<&Sample> = samples.iter().filter(|s| of(s)).collect();
        let right = group.iter().filter(|s| s.answer.gender == s.gender).count();
        (!group.is_empty()).then(|| figure(right as f64 / group.len() as f64))
    };
    let decades = by_decade(&ages)?.into_iter().map(|(from, errors)| DecadeReport {
        from,
        age: errors.into(),
        gender_accuracy: right(&|s| (s.age / 10.0) as u32 * 10 == from).unwrap_or_default(),
    });
    let groups = by_group(samples.iter().map(|s| s.group.as_deref())).unwrap_or_default();
    let wrong = |i: &&usize| samples[**i].answer.gender != samples[**i].gender;
    let counts = groups.iter().map(|(group, rows)| (*group, rows.iter().filter(wrong).count(), rows.len()));
    let gender_by_group = (!groups.is_empty()).then(|| GroupRates::new("gender wrong", counts));
    let age_of_group = |(group, rows): (&&str, &Vec<usize>)| {
        let of_group: Vec<AgeSample> = rows.iter().map(|i| ages[*i]).collect();
        Ok(GroupAgeReport { group: (*group).to_owned(), age: age_errors(&of_group)?.into() })
    };
    let all_right = samples.iter().filter(|s| s.answer.gender == s.gender).count();
    Ok(AgeGenderReport {
        version: VERSION,
        task: "age-gender",
        data: String::new(),
        model: String::new(),
        detector: String::new(),
        without_face: samples.iter().filter(|s| !s.face_found).count(),
        age: age_errors(&ages)?.into(),
        decades: decades.collect(),
        gender: GenderReport {
            accuracy: right(&|_| true).ok_or(MetricError::Empty)?,
            accuracy_interval: interval(wilson(all_right, samples.len())),
            female_recall: right(&|s| s.gender == Gender::Female),
            male_recall: right(&|s| s.gender == Gender::Male),
        },
        age_by_group: groups.iter().map(age_of_group).collect::<Result<_, MetricError>>()?,
        groups: gender_by_group.into_iter().collect(),
    })
}

impl Report for AgeGenderReport {
    fn page(&self) -> Page {
        let mut page = Page::new(format!(
            "age and gender on {}: {} photos, model {}, detector {}",
            self.data, self.age.count, self.model, self.detector
        ));
        page.text(format!("no face found in {} photos: the whole photo was taken", self.without_face));
        let head = ["age", "photos", "MAE", "bias", "in range", "range width", "gender right"];
        let mut table = TextTable::new(head);
        let mut row = |group: String, a: &AgeReport, gender: f64| table.row(age_row(group, a, Some(gender)));
        row("all".to_owned(), &self.age, self.gender.accuracy);
        for d in &self.decades {
            row(format!("{} to {}", d.from, d.from + 9), &d.age, d.gender_accuracy);
        }
        page.table(table);
        let share = |v: Option<f64>| v.map_or("-".to_owned(), four);
        let [low, high] = self.gender.accuracy_interval;
        page.text(format!(
            "gender right {} ({low:.4} to {high:.4} with 95 %), among those labelled female {}, male {}",
            four(self.gender.accuracy),
            share(self.gender.female_recall),
            share(self.gender.male_recall)
        ));
        page.text(
            "MAE: mean absolute error in years; bias: estimate minus truth; in range: true age within age_range.",
        );
        if !self.age_by_group.is_empty() {
            let mut table = TextTable::new(head.into_iter().take(6));
            for g in &self.age_by_group {
                table.row(age_row(g.group.clone(), &g.age, None));
            }
            page.captioned("age by group", table);
        }
        groups::tell(&mut page, &self.groups);
        page
    }
}

fn age_row(group: String, a: &AgeReport, gender: Option<f64>) -> Vec<String> {
    let mut cells = vec![
        group,
        a.count.to_string(),
        format!("{:.2}", a.mae),
        format!("{:+.2}", a.bias),
        a.range_coverage.map_or("-".to_owned(), four),
        a.range_width.map_or("-".to_owned(), |v| format!("{v:.1}")),
    ];
    cells.extend(gender.map(four));
    cells
}

fn illustrate(page: &mut Page, labels: &[Label], samples: &[Sample], report: &AgeGenderReport) -> anyhow::Result<()> {
    let decades = || report.decades.iter().map(|d| d.from.to_string()).collect();
    let mae = report.decades.iter().map(|d| d.age.mae).collect();
    let wrong = report.decades.iter().map(|d| 1.0 - d.gender_accuracy).collect();
    page.charts(vec![
        Chart::bars("mean absolute error by decade", "years", decades(), vec![("MAE".to_owned(), mae)]),
        Chart::bars("gender wrong by decade", "share", decades(), vec![("wrong".to_owned(), wrong)]),
    ]);
    let errors = samples.iter().map(|s| f64::from(s.answer.age) - s.age).enumerate();
    let mut errors: Vec<(usize, f64)> = errors.collect();
    errors.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    let paths: Vec<PathBuf> = labels.iter().map(|l| l.path.clone()).collect();
    let names: Vec<String> = labels.iter().map(|l| format!("labelled {}, {}", l.age, l.name)).collect();
    page.pictures("Ages furthest off, in years", worst::photos(&errors, &paths, &names)?);
    let surest = samples.iter().enumerate().filter(|(_, s)| s.answer.gender != s.gender);
    let mut surest: Vec<(usize, f64)> = surest.map(|(i, s)| (i, f64::from(s.answer.gender_score))).collect();
    surest.sort_by(|a, b| b.1.total_cmp(&a.1));
    page.pictures("Wrong genders said most surely", worst::photos(&surest, &paths, &names)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(age: f64, gender: Gender, estimate: f32, guess: Gender) -> Sample {
        let answer = Said {
            age: estimate,
            range: Some([(estimate - 5.0).max(0.0) as u8, (estimate + 5.0) as u8]),
            gender: guess,
            gender_score: 0.9,
        };
        let group = Some(if age < 32.0 { "x" } else { "y" }.to_owned());
        Sample { age, gender, group, answer, face_found: age > 10.0 }
    }

    #[test]
    fn figures_worked_out_by_hand() {
        use Gender::{Female, Male};
        let samples =
            [sample(5.0, Female, 8.0, Female), sample(31.0, Female, 30.0, Male), sample(35.0, Male, 27.0, Male)];
        let report = measure(&samples).unwrap();
        assert_eq!((report.age.mae, report.age.bias, report.without_face), (4.0, -2.0, 1));
        assert_eq!(report.age.range_coverage, Some(0.666667));
        assert_eq!((report.gender.female_recall, report.gender.male_recall), (Some(0.5), Some(1.0)));
        assert_eq!(
            (report.decades[1].from, report.decades[1].age.mae, report.decades[1].gender_accuracy),
            (30, 4.5, 0.5)
        );
        assert_eq!((report.age_by_group[0].age.mae, report.age_by_group[1].age.mae), (2.0, 8.0));
        let wrong = &report.groups[0];
        assert_eq!((wrong.groups[0].rate, wrong.groups[1].rate), (0.5, 0.0));
        let text = report.page().render();
        assert!(text.contains("30 to 39") && text.contains("-2.00") && text.contains("age by group"), "{text}");
        assert!(matches!(measure(&[]), Err(MetricError::Empty)));
    }

    #[test]
    fn a_label_that_is_no_age_or_gender_is_named_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.csv");
        std::fs::write(&path, "file,age,gender\na.png,31,F\na.png,999,1\n").unwrap();
        let labels = Labels::read(&path, &[FILE, AGE, GENDER], &[], None).unwrap();
        let rows: Vec<_> = labels.rows(None).collect();
        assert_eq!((age(&rows[0], 1).unwrap(), gender(&rows[0], 2).unwrap()), (31.0, Gender::Female));
        let message = age(&rows[1], 1).unwrap_err().to_string();
        assert!(message.ends_with("line 3: age is \"999\"; an age from 0 to 130 is needed"), "{message}");
        assert!(gender(&rows[1], 2).unwrap_err().to_string().contains("line 3: gender is \"1\""));
    }
}
