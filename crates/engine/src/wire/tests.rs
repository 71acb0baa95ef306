//! Everything comes out as it went in, and bytes that are no message are an error that costs nothing.

use facesocial_models::{faceres, genderage};
use facesocial_types::{BBox, Face, LandmarkName, Landmarks, ModelId, Point};
use fastrand::Rng;
use image::RgbImage;

use super::*;
use crate::{
    cascade::Look,
    detectors::Letterboxed,
    error::{EngineError, Result as EngineResult},
};

fn id() -> ModelId {
    ModelId::new("mtcnn", "0123abcd")
}

/// A finite number of any size.
fn number(rng: &mut Rng) -> f32 {
    loop {
        let number = f32::from_bits(rng.u32(..));
        if number.is_finite() {
            return number;
        }
    }
}

fn picture(rng: &mut Rng) -> RgbImage {
    RgbImage::from_fn(rng.u32(1..9), rng.u32(1..9), |_, _| image::Rgb([rng.u8(..), rng.u8(..), rng.u8(..)]))
}

fn bbox(rng: &mut Rng) -> BBox {
    BBox { x: number(rng), y: number(rng), width: number(rng), height: number(rng) }
}

fn face(rng: &mut Rng) -> Face {
    let names = [LandmarkName::RightEar, LandmarkName::LeftEye, LandmarkName::MouthCenter];
    let points = names[..rng.usize(0..=3)].iter().map(|name| (*name, Point::new(number(rng), number(rng))));
    let landmarks = Landmarks::new(points.collect::<Vec<_>>());
    Face { bbox: bbox(rng), score: number(rng), landmarks }
}

fn some<T>(rng: &mut Rng, one: impl Fn(&mut Rng) -> T) -> Vec<T> {
    (0..rng.usize(0..5)).map(|_| one(rng)).collect()
}

/// A kind of value: random ones as they come, and back.
trait Kind {
    fn name(&self) -> &'static str;
    /// A question with such items and, where the value came back changed, what it became.
    fn there_and_back(&self, rng: &mut Rng) -> (Vec<u8>, Option<String>);
    /// Reads bytes as a question with such items.
    fn read(&self, bytes: &[u8]) -> Result<usize, WireError>;
    /// Reads bytes as an answer with such items.
    fn read_answer(&self, count: usize, bytes: &[u8]) -> Result<usize, WireError>;
}

struct Of<T>(&'static str, fn(&mut Rng) -> T);

impl<T: Wire + std::fmt::Debug> Kind for Of<T> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn there_and_back(&self, rng: &mut Rng) -> (Vec<u8>, Option<String>) {
        let items = some(rng, self.1);
        let bytes = question(&id(), &items);
        let back: Vec<T> = read_question(&id(), &bytes).unwrap();
        // A number's written form is exact, and tells -0 from 0.
        let (before, after) = (format!("{items:?}"), format!("{back:?}"));
        (bytes, (before != after).then(|| format!("{before}\n{after}")))
    }

    fn read(&self, bytes: &[u8]) -> Result<usize, WireError> {
        read_question::<T>(&id(), bytes).map(|items| items.len())
    }

    fn read_answer(&self, count: usize, bytes: &[u8]) -> Result<usize, WireError> {
        read_answer::<T>(&id(), count, bytes).map(|items| items.len())
    }
}

fn kinds() -> Vec<Box<dyn Kind>> {
    vec![
        Box::new(Of("number", number)),
        Box::new(Of("vector", |rng| some(rng, number))),
        Box::new(Of("picture", picture)),
        Box::new(Of("pictures", |rng| some(rng, picture))),
        Box::new(Of("letterboxed", |rng| Letterboxed { image: picture(rng), min_score: number(rng) })),
        Box::new(Of("faces", |rng| some(rng, face))),
        Box::new(Of("perhaps faces", |rng| some(rng, |rng| rng.bool().then(|| face(rng))))),
        Box::new(Of("age and gender", |rng| genderage::GenderAge {
            female: number(rng),
            male: number(rng),
            age: number(rng),
        })),
        Box::new(Of("age, gender and vector", |rng| faceres::Output {
            embedding: some(rng, number),
            age: number(rng),
            age_range: [rng.u8(..), rng.u8(..)],
            male_probability: number(rng),
        })),
        Box::new(Of("look", |rng| {
            let mut bytes = vec![];
            if rng.bool() {
                bytes.push(0);
                number(rng).write(&mut bytes);
            } else {
                bytes.push(1);
                some(rng, bbox).write(&mut bytes);
            }
            picture(rng).write(&mut bytes);
            Look::read(&mut Cursor::new(&bytes)).unwrap()
        })),
    ]
}

#[test]
fn what_goes_in_comes_out() {
    for kind in kinds() {
        for seed in 0..200 {
            let (_, changed) = kind.there_and_back(&mut Rng::with_seed(seed));
            assert_eq!(changed, None, "{} with seed {seed}", kind.name());
        }
    }
}

#[test]
fn a_message_that_was_cut_off_or_goes_on_is_none() {
    for kind in kinds() {
        for seed in 0..40 {
            let (mut bytes, _) = kind.there_and_back(&mut Rng::with_seed(seed));
            for end in 0..bytes.len() {
                assert!(kind.read(&bytes[..end]).is_err(), "{} with seed {seed} until {end}", kind.name());
            }
            bytes.push(0);
            assert_eq!(kind.read(&bytes), Err(WireError::Trailing), "{}", kind.name());
        }
    }
}

/// Changed, random and foreign bytes: whatever is read from them, nothing panics, and nothing is set aside that they could not
/// fill (which would end the test).
#[test]
fn no_bytes_are_a_danger() {
    let mut rng = Rng::with_seed(3);
    let kinds = kinds();
    for kind in &kinds {
        for seed in 0..60 {
            let (bytes, _) = kind.there_and_back(&mut Rng::with_seed(seed));
            for _ in 0..40 {
                let mut changed = bytes.clone();
                for _ in 0..rng.usize(1..6) {
                    let at = rng.usize(..changed.len());
                    changed[at] = [0, 1, 0x7f, 0x80, 0xff, rng.u8(..)][rng.usize(..6)];
                }
                for other in &kinds {
                    let _ = (other.read(&changed), other.read_answer(rng.usize(0..5), &changed));
                }
            }
        }
        let noise: Vec<u8> = (0..200).map(|_| rng.u8(..)).collect();
        assert_eq!(kind.read(&noise), Err(WireError::Magic));
        assert_eq!(kind.read(&[]), Err(WireError::Magic));
    }
}

/// The head of a question about `count` items.
fn asked(count: u32) -> Vec<u8> {
    let mut bytes = question::<f32>(&id(), &[]);
    bytes.truncate(bytes.len() - 4);
    bytes.extend(count.to_le_bytes());
    bytes
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_set_aside() {
    let most = u32::MAX.to_le_bytes();
    let of = |parts: &[&[u8]]| [asked(1), parts.concat()].concat();
    assert_eq!(read_question::<Vec<f32>>(&id(), &of(&[&most])), Err(WireError::Truncated));
    assert_eq!(read_question::<RgbImage>(&id(), &of(&[&most, &most, &[0; 3]])), Err(WireError::Truncated));
    assert_eq!(read_question::<RgbImage>(&id(), &of(&[&[0; 8], &[0; 3]])), Err(WireError::Empty));
    assert_eq!(
        read_question::<f32>(&id(), &asked(u32::MAX)),
        Err(WireError::Count { found: u32::MAX as usize, allowed: MAX_ITEMS })
    );
    assert_eq!(read_question::<RgbImage>(&id(), &asked(4096)), Err(WireError::Truncated));
    for bits in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(f32::to_bits) {
        assert_eq!(read_question::<f32>(&id(), &of(&[&bits.to_le_bytes()])), Err(WireError::NotFinite));
    }
}

#[test]
fn another_network_or_other_weights_are_told_apart() {
    let bytes = question(&id(), &[1.0_f32]);
    for other in [ModelId::new("mtcnn", "ffffffff"), ModelId::new("yolo", "0123abcd")] {
        let expected = WireError::OtherNetwork { found: id().to_string(), expected: other.to_string() };
        assert_eq!(read_question::<f32>(&other, &bytes), Err(expected.clone()));
        let bytes = answer(&id(), vec![Ok(1.0_f32)]).unwrap();
        assert_eq!(read_answer::<f32>(&other, 1, &bytes), Err(expected));
    }
    let mut newer = bytes.clone();
    newer[4] = 9;
    assert_eq!(read_question::<f32>(&id(), &newer), Err(WireError::Form { found: 9 }));
    assert_eq!(read_answer::<f32>(&id(), 1, &bytes), Err(WireError::Kind));
}

#[test]
fn an_answer_tells_each_items_failure_in_its_place() {
    let failed = || Err(EngineError::Panicked { network: "mtcnn" });
    let bytes = answer(&id(), vec![Ok(0.5_f32), failed(), Ok(-0.0)]).unwrap();
    let back = read_answer::<f32>(&id(), 3, &bytes).unwrap();
    assert_eq!(back, [Ok(0.5), Err("mtcnn failed unexpectedly".to_owned()), Ok(0.0)]);
    assert!(back[2].as_ref().unwrap().is_sign_negative());
    assert_eq!(read_answer::<f32>(&id(), 2, &bytes), Err(WireError::Count { found: 3, allowed: 2 }));
    // What is not about one item is no answer: somebody else may be asked.
    let busy: Vec<EngineResult<f32>> = vec![Ok(1.0), Err(EngineError::Stopped)];
    assert!(matches!(answer(&id(), busy), Err(EngineError::Stopped)));
    // Whatever is said about a failure, the message stays one.
    let long = ModelId::new("é".repeat(300), "1");
    assert_eq!(read_question::<f32>(&ModelId::new("é".repeat(127), "1"), &question(&long, &[2.0_f32])), Ok(vec![2.0]));
}
