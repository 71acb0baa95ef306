//! What servers of one system tell each other about networks.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use facesocial::networks::NetworkArgs;
use facesocial_engine::{
    Caller, Cursor, Letterboxed, Look, Outage, Question, Remote, RemoteError, Wire,
    models::{faceres, genderage},
};
use facesocial_imaging::RgbImage;
use facesocial_pipeline::{AnalyzeOptions, DetectOptions, LoadOptions, Pipeline};
use facesocial_types::{AnalyzerSet, BBox, Detector, Face, ModelId, Service};

/// The bundled networks, from the weights of the checkout.
pub fn options() -> LoadOptions {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../weights");
    // What the person running this has pulled must not change it.
    let models_dir = Some(weights.join("no-pulled-networks"));
    let args = NetworkArgs { weights: Some(weights), models_dir, ..NetworkArgs::default() };
    args.options(Service::ALL.to_vec()).expect("the checkout has weights")
}

/// The bundled networks, ready to run.
pub fn pipeline() -> &'static Pipeline {
    static PIPELINE: LazyLock<Pipeline> =
        LazyLock::new(|| Pipeline::load(&options()).expect("the weights of the checkout are fine"));
    &PIPELINE
}

fn read<T: Wire>(bytes: &[u8]) {
    let mut from = Cursor::new(bytes);
    if let Ok(value) = T::read(&mut from) {
        let mut written = Vec::new();
        value.write(&mut written);
        assert!(
            bytes.starts_with(&written) && written.len() >= T::LEAST,
            "it is written in another way than it was read"
        );
    }
}

/// A value of a question or an answer; the first byte says of which kind.
pub fn wire(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 11 {
        0 => read::<f32>(bytes),
        1 => read::<Vec<f32>>(bytes),
        2 => read::<RgbImage>(bytes),
        3 => read::<Vec<RgbImage>>(bytes),
        4 => read::<Letterboxed>(bytes),
        5 => read::<Vec<Face>>(bytes),
        6 => read::<Vec<Option<Face>>>(bytes),
        7 => read::<genderage::GenderAge>(bytes),
        8 => read::<faceres::Output>(bytes),
        9 => read::<Look<'_>>(bytes),
        _ => read::<Vec<BBox>>(bytes),
    }
}

/// First bytes of a message, up to its items: magic, version of the form, kind, name, version, number of items.
fn head(kind: u8, id: &ModelId, items: u32) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [&b"FSNW"[..], &[1, kind], &text(id.name()), &text(id.version()), &items.to_le_bytes()].concat()
}

/// Another server, which answers whatever it is told to.
#[derive(Debug, Default)]
struct Elsewhere(Mutex<Vec<u8>>);

impl Remote for Elsewhere {
    fn expect(&self, _: &ModelId) {}

    fn reachable(&self) -> Result<(), Outage> {
        Ok(())
    }

    fn ask(&self, question: Question) {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Mostly the right head, so that what follows it is read.
        let answer = match told.split_first() {
            Some((0, bytes)) => bytes.to_vec(),
            Some((items, bytes)) => [&head(2, &question.id, u32::from(*items))[..], bytes].concat(),
            None => Vec::new(),
        };
        if question.reply.accept(&answer).is_err() {
            question.reply.fail(RemoteError::Failed { reason: "it answers nonsense".to_owned() });
        }
    }
}

/// The first byte chooses: a question that another server asks of a network here; or what another server, which runs every
/// network of this one, answers about a photo.
pub fn remote(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    if kind & 1 == 0 {
        let services = [Service::Mediapipe, Service::Yolo, Service::Mtcnn, Service::GenderAge, Service::Recognition];
        let service = services[usize::from(kind >> 1) % services.len()];
        let engine = pipeline().engine();
        let Some(id) = engine.networks_of(service).into_iter().next() else { return };
        let Some((&items, rest)) = bytes.split_first() else { return };
        let question = match items {
            0 => rest.to_vec(),
            items => [&head(1, &id, u32::from(items))[..], rest].concat(),
        };
        // A picture may be of any size there, and takes time by its pixels.
        if question.len() < 1 << 16 {
            let _ = engine.answer(service, id.name(), &Caller::alone(), &question);
        }
        return;
    }
    static FAR: LazyLock<(Pipeline, Arc<Elsewhere>)> = LazyLock::new(|| {
        let elsewhere = Arc::new(Elsewhere::default());
        let remote = || Arc::clone(&elsewhere) as Arc<dyn Remote>;
        let remotes: BTreeMap<Service, Arc<dyn Remote>> = Service::ALL.iter().map(|s| (*s, remote())).collect();
        let options = LoadOptions { remotes, ..options() };
        (Pipeline::load(&options).expect("the weights of the checkout are fine"), elsewhere)
    });
    let (pipeline, elsewhere) = &*FAR;
    *elsewhere.0.lock().unwrap_or_else(PoisonError::into_inner) = bytes.to_vec();
    let detectors = [Detector::Mediapipe, Detector::Yolo, Detector::Mtcnn, Detector::Auto];
    let detector = detectors[usize::from(kind >> 1 & 3)];
    let detect = DetectOptions { detector, min_score: 0.02, ..DetectOptions::default() };
    let photo = RgbImage::from_fn(64, 48, |x, y| [x as u8 * 4, y as u8 * 4, 99].into());
    if let Ok(analysis) = pipeline.analyze(&photo, &AnalyzeOptions { detect, analyzers: AnalyzerSet::ALL }) {
        let finite = |b: &BBox| [b.x, b.y, b.width, b.height].iter().all(|v| v.is_finite());
        assert!(analysis.faces.iter().all(|face| finite(&face.bbox)));
    }
}
