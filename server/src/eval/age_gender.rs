//! `facesocial eval age-gender`: errors of estimated age and gender.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use clap::Args;
use facesocial_pipeline::DetectOptions;
use facesocial_types::{Analyzer, AnalyzerSet, Detector, Gender, GenderAge};
use serde::Serialize;

use super::{
    DataArgs, Report, faces, figure,
    labels::{Column, LabelError, Labels, Row},
    metrics::{
        MetricError,
        age::{AgeErrors, AgeSample, age_errors, by_decade},
    },
    over_images, tell,
};
use crate::cli::{json::VERSION, table::TextTable};

/// Options of `facesocial eval age-gender`.
#[derive(Debug, Args)]
pub struct AgeGenderArgs {
    #[command(flatten)]
    data: DataArgs,
    /// How faces are looked for; the large and central one counts, the whole photo where none is found.
    #[arg(long, value_name = "NAME", default_value_t = Detector::Auto)]
    detector: Detector,
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

/// One photo.
struct Sample {
    age: f64,
    gender: Gender,
    answer: GenderAge,
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

/// Runs the command.
///
/// # Errors
/// See [`super`].
pub fn run(args: &AgeGenderArgs) -> anyhow::Result<ExitCode> {
    let data = &args.data;
    let labels = Labels::read(&data.data.join("labels.csv"), &[FILE, AGE, GENDER], &[])?;
    let rows = labels.rows(data.limit()).map(|r| Ok((r.image(0, &data.data)?, age(&r, 1)?, gender(&r, 2)?)));
    let rows: Vec<(PathBuf, f64, Gender)> = rows.collect::<Result<_, LabelError>>()?;
    let paths: Vec<PathBuf> = rows.iter().map(|r| r.0.clone()).collect();

    let asked: AnalyzerSet = [Analyzer::GenderAge].into_iter().collect();
    let pipeline = data.run.load(asked)?;
    let options = DetectOptions { detector: args.detector, ..DetectOptions::default() };
    let answers = over_images(&paths, data.run.at_once(), |image| {
        let (detection, face_found) = faces::central_or_whole(&pipeline, image, &options)?;
        let mut analysis = pipeline.analyze_faces(image, detection, asked);
        Ok((faces::done(analysis.faces.pop().and_then(|f| f.gender_age))?, face_found))
    })?;
    let answers = answers.into_iter().zip(&rows);
    let samples: Vec<Sample> =
        answers.map(|((answer, face_found), row)| Sample { age: row.1, gender: row.2, answer, face_found }).collect();
    let report = measure(&samples, data.data.display().to_string(), args.detector.to_string())?;
    tell(&report, data.json)
}

fn measure(samples: &[Sample], data: String, detector: String) -> Result<AgeGenderReport, MetricError> {
    let ages: Vec<AgeSample> = samples
        .iter()
        .map(|s| AgeSample {
            truth: s.age,
            estimate: f64::from(s.answer.age),
            range: s.answer.age_range.map(|r| r.map(f64::from)),
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
    Ok(AgeGenderReport {
        version: VERSION,
        task: "age-gender",
        data,
        model: samples.first().map(|s| s.answer.model.to_string()).unwrap_or_default(),
        detector,
        without_face: samples.iter().filter(|s| !s.face_found).count(),
        age: age_errors(&ages)?.into(),
        decades: decades.collect(),
        gender: GenderReport {
            accuracy: right(&|_| true).ok_or(MetricError::Empty)?,
            female_recall: right(&|s| s.gender == Gender::Female),
            male_recall: right(&|s| s.gender == Gender::Male),
        },
    })
}

impl Report for AgeGenderReport {
    fn text(&self) -> String {
        let mut out = format!(
            "age and gender on {}: {} photos, model {}, detector {}\n",
            self.data, self.age.count, self.model, self.detector
        );
        let _ = writeln!(out, "no face found in {} photos: the whole photo was taken\n", self.without_face);
        let head = ["age", "photos", "MAE", "bias", "in range", "range width", "gender right"];
        let mut table = TextTable::new(head);
        let mut row = |group: String, a: &AgeReport, gender: f64| {
            table.row([
                group,
                a.count.to_string(),
                format!("{:.2}", a.mae),
                format!("{:+.2}", a.bias),
                a.range_coverage.map_or("-".to_owned(), |v| format!("{v:.4}")),
                a.range_width.map_or("-".to_owned(), |v| format!("{v:.1}")),
                format!("{gender:.4}"),
            ]);
        };
        row("all".to_owned(), &self.age, self.gender.accuracy);
        for d in &self.decades {
            row(format!("{} to {}", d.from, d.from + 9), &d.age, d.gender_accuracy);
        }
        out += &table.render();
        let share = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.4}"));
        let (female, male) = (share(self.gender.female_recall), share(self.gender.male_recall));
        let _ = writeln!(out, "\ngender right among those labelled female {female}, male {male}");
        out + "MAE: mean absolute error in years; bias: estimate minus truth; in range: true age within age_range.\n"
    }
}

#[cfg(test)]
mod tests {
    use facesocial_types::ModelId;

    use super::*;

    fn sample(age: f64, gender: Gender, estimate: f32, guess: Gender) -> Sample {
        let answer = GenderAge {
            model: ModelId::new("faceres", "1"),
            age: estimate,
            age_range: Some([(estimate - 5.0).max(0.0) as u8, (estimate + 5.0) as u8]),
            gender: guess,
            gender_score: 0.9,
        };
        Sample { age, gender, answer, face_found: age > 10.0 }
    }

    #[test]
    fn figures_worked_out_by_hand() {
        use Gender::{Female, Male};
        let samples =
            [sample(5.0, Female, 8.0, Female), sample(31.0, Female, 30.0, Male), sample(35.0, Male, 27.0, Male)];
        let report = measure(&samples, "set".to_owned(), "auto".to_owned()).unwrap();
        assert_eq!((report.age.mae, report.age.bias, report.without_face), (4.0, -2.0, 1));
        assert_eq!(report.age.range_coverage, Some(0.666667));
        assert_eq!((report.gender.female_recall, report.gender.male_recall), (Some(0.5), Some(1.0)));
        assert_eq!(
            (report.decades[1].from, report.decades[1].age.mae, report.decades[1].gender_accuracy),
            (30, 4.5, 0.5)
        );
        let text = report.text();
        assert!(text.contains("30 to 39") && text.contains("-2.00"), "{text}");
        assert!(matches!(measure(&[], String::new(), String::new()), Err(MetricError::Empty)));
    }

    #[test]
    fn a_label_that_is_no_age_or_gender_is_named_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.csv");
        std::fs::write(&path, "file,age,gender\na.png,31,F\na.png,999,1\n").unwrap();
        let labels = Labels::read(&path, &[FILE, AGE, GENDER], &[]).unwrap();
        let rows: Vec<_> = labels.rows(None).collect();
        assert_eq!((age(&rows[0], 1).unwrap(), gender(&rows[0], 2).unwrap()), (31.0, Gender::Female));
        let message = age(&rows[1], 1).unwrap_err().to_string();
        assert!(message.ends_with("line 3: age is \"999\"; an age from 0 to 130 is needed"), "{message}");
        assert!(gender(&rows[1], 2).unwrap_err().to_string().contains("line 3: gender is \"1\""));
    }
}
