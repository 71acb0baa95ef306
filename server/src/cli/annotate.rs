//! Photos with boxes and captions.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use facesocial_imaging::{Color, RgbImage, draw_box, draw_caption, draw_points, encode_jpeg, line_width};
use facesocial_types::{Analysis, DeepfakeDecision, FaceAnalysis, LivenessDecision, Outcome, Point};

use super::{
    inputs::Input,
    table::{gender, liveness},
};

/// Quality of the JPEG files written.
const JPEG_QUALITY: u8 = 90;

/// The file in `dir` for each input: its name with the ending `.jpg`, numbered where two inputs would meet in one file.
/// No target is itself an input, so that `--annotate` never writes over a photo it was given.
pub fn targets(dir: &Path, inputs: &[Input]) -> Vec<PathBuf> {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let originals: HashSet<PathBuf> = inputs.iter().flatten().filter_map(|p| real(p)).collect();
    // Lower case: many file systems hold A.jpg and a.jpg to be one file.
    let mut used = HashSet::new();
    let mut name = |input: &Input| {
        let path = input.as_ref().map_or_else(|bad| bad.path.as_path(), PathBuf::as_path);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let numbered = (2_usize..).map(|n| format!("{stem}-{n}.jpg"));
        let free = |name: &String| {
            let taken = real(&dir.join(name)).is_some_and(|path| originals.contains(&path));
            !taken && !used.contains(&name.to_lowercase())
        };
        let name = std::iter::once(format!("{stem}.jpg")).chain(numbered).find(free).unwrap_or_default();
        used.insert(name.to_lowercase());
        dir.join(name)
    };
    inputs.iter().map(&mut name).collect()
}

/// Draws every face of `analysis` on `image` and writes it to `target` as JPEG.
///
/// # Errors
/// The file cannot be written.
pub fn write(mut image: RgbImage, analysis: &Analysis, target: &Path) -> anyhow::Result<()> {
    draw(&mut image, analysis);
    fs::write(target, encode_jpeg(&image, JPEG_QUALITY)).with_context(|| format!("cannot write {}", target.display()))
}

fn draw(image: &mut RgbImage, analysis: &Analysis) {
    let width = line_width(image);
    for face in &analysis.faces {
        let points: Vec<Point> = face.landmarks.iter().map(|l| l.point).collect();
        draw_box(image, &face.bbox, color(face), width);
        draw_points(image, &points, Color::WHITE, width);
    }
    // Captions come last and small faces first: no box crosses a caption, and the largest face's is never covered.
    for face in analysis.faces.iter().rev() {
        draw_caption(image, &face.bbox, &caption(face), color(face));
    }
}

fn answered<T>(outcome: &Option<Outcome<T>>) -> Option<&T> {
    outcome.as_ref().and_then(Outcome::done)
}

/// Green for a live face, red for an attack or a fake, amber where either is uncertain, blue where nothing was said.
fn color(face: &FaceAnalysis) -> Color {
    let liveness = answered(&face.antispoof).map(|a| a.decision);
    let fake = answered(&face.deepfake).map(|d| d.decision);
    match (liveness, fake) {
        (Some(LivenessDecision::Spoof), _) | (_, Some(DeepfakeDecision::Fake)) => Color::RED,
        (Some(LivenessDecision::Uncertain), _) | (_, Some(DeepfakeDecision::Uncertain)) => Color::AMBER,
        (Some(LivenessDecision::Live), _) | (_, Some(DeepfakeDecision::Real)) => Color::GREEN,
        (None, None) => Color::BLUE,
    }
}

/// Short lines, so that the captions of a group seldom meet.
fn caption(face: &FaceAnalysis) -> Vec<String> {
    let mut first = format!("#{}", face.index);
    if let Some(g) = answered(&face.gender_age) {
        first += &format!(" {:.0} y {} {:.2}", g.age, gender(g.gender), g.gender_score);
    }
    let mut lines = vec![first];
    if let Some(a) = answered(&face.antispoof) {
        lines.push(format!("{} {:.2}", liveness(a.decision), a.score));
    }
    if let Some(q) = answered(&face.quality) {
        lines.push(format!("quality {:.2}", q.score));
    }
    if let Some(d) = answered(&face.deepfake) {
        lines.push(format!("fake {:.2}", d.score));
    }
    lines
}

#[cfg(test)]
pub(crate) mod tests {
    use facesocial_types::{
        AntiSpoof, BBox, Embedding, Gender, GenderAge, LandmarkName, Landmarks, ModelId, Quality, QualityMetrics,
        QualityReason, Recognition,
    };

    use super::*;
    use crate::cli::inputs::BadInput;

    /// A photo of 200 x 150 pixels with one face that has every kind of answer.
    pub(crate) fn analysis() -> Analysis {
        let id = |name: &str| ModelId::new(name, "12345678");
        let face = FaceAnalysis {
            index: 0,
            bbox: BBox::new(40.123, 50.456, 60.0, 70.0),
            score: 0.98765,
            landmarks: Landmarks::new([(LandmarkName::LeftEye, Point::new(55.555, 70.0))]),
            quality: Some(Outcome::Done(Quality {
                score: 0.8125,
                reasons: vec![QualityReason::Blurred, QualityReason::CutOff],
                metrics: QualityMetrics::default(),
            })),
            recognition: Some(Outcome::Done(Recognition {
                embedding: Embedding::new(id("ensemble"), vec![3.0, 4.0]).unwrap(),
            })),
            antispoof: Some(Outcome::Done(AntiSpoof {
                model: id("tree"),
                score: 0.93,
                decision: LivenessDecision::Live,
            })),
            gender_age: Some(Outcome::Done(GenderAge {
                model: id("faceres"),
                age: 31.26,
                age_range: Some([25, 38]),
                gender: Gender::Female,
                gender_score: 0.98,
            })),
            deepfake: Some(Outcome::Unavailable { reason: "no network".to_owned() }),
        };
        Analysis { width: 200, height: 150, detector: "blazeface@1".to_owned(), faces: vec![face] }
    }

    #[test]
    fn names_never_meet_and_never_hit_an_input() {
        let dir = tempfile::tempdir().unwrap();
        let original = dir.path().join("c.jpg");
        fs::write(&original, "photo").unwrap();
        let bad = BadInput { path: "gone.png".into(), reason: String::new() };
        let inputs = [Ok("x/a.png".into()), Ok("y/A.jpeg".into()), Ok(original), Ok("z/b.jpg".into()), Err(bad)];
        let names: Vec<_> = targets(dir.path(), &inputs)
            .iter()
            .map(|p| p.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a.jpg", "A-2.jpg", "c-2.jpg", "b.jpg", "gone.jpg"]);
    }

    #[test]
    fn the_caption_says_what_was_answered_and_the_colour_whether_it_is_live() {
        let mut analysis = analysis();
        let face = &mut analysis.faces[0];
        assert_eq!(caption(face), ["#0 31 y female 0.98", "live 0.93", "quality 0.81"]);
        assert_eq!(color(face), Color::GREEN);
        face.antispoof = None;
        assert_eq!(color(face), Color::BLUE);
    }

    #[test]
    fn the_photo_is_drawn_on_and_written() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.jpg");
        let grey = RgbImage::from_pixel(200, 150, image::Rgb([128; 3]));
        write(grey.clone(), &analysis(), &target).unwrap();
        let drawn = crate::cli::inputs::read_image(&target).unwrap();
        assert_eq!(drawn.dimensions(), (200, 150));
        let changed = drawn.pixels().zip(grey.pixels()).filter(|(a, b)| a.0[0].abs_diff(b.0[0]) > 30).count();
        assert!(changed > 200, "{changed} pixels differ");
    }
}
