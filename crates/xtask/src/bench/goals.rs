//! Which networks are compared, with which runtime, and how fast they are meant to be.

use anyhow::bail;

/// A network and the runtime that it is compared with.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub(super) network: &'static str,
    pub(super) runtime: &'static str,
    /// A photo goes in, not a batch.
    pub(super) one_photo: bool,
    /// Highest ratio of this project's time to the other's that is meant, on one thread and on two.
    goals: Option<[f64; 2]>,
}

impl Pair {
    /// The ratio meant on so many threads; none is told for more than two.
    pub(super) fn goal(&self, threads: usize) -> Option<f64> {
        self.goals?.get(threads.checked_sub(1)?).copied()
    }
}

const fn pair(network: &'static str, runtime: &'static str, goals: Option<[f64; 2]>) -> Pair {
    Pair { network, runtime, one_photo: false, goals }
}

const ORT: &str = "onnxruntime";

/// Each network with its peers; the first of a network's is the one that it is held against.
const PAIRS: [Pair; 22] = [
    pair("iresnet100", ORT, Some([0.50, 0.55])),
    pair("adaface_ir101", ORT, Some([0.50, 0.55])),
    pair("iresnet50", ORT, None),
    pair("mobilefacenet", ORT, Some([0.40, 0.45])),
    pair("faceres", ORT, Some([0.50, 0.60])),
    pair("mn3", ORT, Some([0.50, 0.60])),
    pair("minifasnet_v2", ORT, Some([0.50, 0.60])),
    pair("minifasnet_v1_se", ORT, Some([0.50, 0.60])),
    pair("minifasnet_v2_se", ORT, Some([0.50, 0.60])),
    pair("inception_resnet_v1", ORT, Some([0.80, 0.90])),
    pair("yolov10n_face", ORT, Some([0.75, 0.85])),
    pair("vit", ORT, Some([0.90, 0.95])),
    pair("blazeface_short", "litert", Some([0.80, 0.90])),
    pair("blazeface_full", "litert", Some([0.80, 0.90])),
    pair("blazeface_short", ORT, None),
    pair("blazeface_full", ORT, None),
    Pair { network: "mtcnn", runtime: "facenet-pytorch", one_photo: true, goals: Some([0.50, 0.60]) },
    pair("mtcnn_pnet", ORT, Some([0.50, 0.60])),
    pair("dlib_resnet", "dlib", Some([0.30, 0.35])),
    pair("dlib_resnet", ORT, None),
    pair("efficientnet_lite_deepfake", ORT, None),
    pair("face_antispoofing", ORT, None),
];

/// The networks that the analysis of a photo runs in ONNX Runtime.
pub(super) const ANALYSIS: [&str; 9] = [
    "dlib_resnet",
    "efficientnet_lite_deepfake",
    "face_antispoofing",
    "faceres",
    "mobilefacenet",
    "mtcnn_onet",
    "mtcnn_pnet",
    "mtcnn_rnet",
    "yolov10n_face",
];

/// The pairs of the networks named, or all; with `torch`, each network once, with PyTorch.
///
/// # Errors
/// A name of no network.
pub(super) fn pairs(torch: bool, named: &[String]) -> anyhow::Result<Vec<Pair>> {
    if let Some(unknown) = named.iter().find(|name| !PAIRS.iter().any(|pair| pair.network == *name)) {
        let mut names: Vec<&str> = PAIRS.iter().map(|pair| pair.network).collect();
        names.dedup();
        bail!("no network {unknown}; there are {}", names.join(", "));
    }
    let wanted = PAIRS.iter().filter(|pair| named.is_empty() || named.iter().any(|name| pair.network == name));
    if !torch {
        return Ok(wanted.copied().collect());
    }
    let mut pairs: Vec<Pair> = Vec::new();
    for found in wanted.filter(|pair| !pair.one_photo) {
        if !pairs.iter().any(|pair| pair.network == found.network) {
            pairs.push(pair(found.network, "torch", None));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_by_name() {
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let runtimes = |torch, names: &[&str]| -> Vec<&str> {
            pairs(torch, &named(names)).unwrap().iter().map(|pair| pair.runtime).collect()
        };
        assert_eq!(runtimes(false, &["dlib_resnet", "vit"]), [ORT, "dlib", ORT]);
        assert_eq!(runtimes(true, &["dlib_resnet", "mtcnn"]), ["torch"]);
        let Err(error) = pairs(false, &named(&["vgg"])) else { panic!("no such network") };
        assert!(error.to_string().starts_with("no network vgg; there are iresnet100, "), "{error}");
    }

    #[test]
    fn goals_are_told_for_one_thread_and_for_two() {
        let [pair] = pairs(false, &["mobilefacenet".to_owned()]).unwrap()[..] else { panic!("one peer") };
        assert_eq!([0, 1, 2, 3].map(|threads| pair.goal(threads)), [None, Some(0.40), Some(0.45), None]);
    }
}
