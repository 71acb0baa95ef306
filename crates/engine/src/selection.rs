//! Which network answers for a service: the one that was chosen, else the best one whose weights are present.

use std::{collections::BTreeMap, str::FromStr};

use facesocial_types::Service;

use crate::{
    error::{EngineError, Result},
    folders::Folders,
};

/// What the operator chose; empty by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// The network of a service that has several.
    pub networks: BTreeMap<Service, String>,
    /// The members of the recognition ensemble with their weights.
    pub ensemble: Option<Ensemble>,
}

/// A network, or networks that answer together, under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The name that chooses it.
    pub name: &'static str,
    /// The networks that it needs, by their names in `models-src`.
    pub parts: &'static [&'static str],
}

const fn alone(part: &'static [&'static str; 1]) -> Candidate {
    Candidate { name: part[0], parts: part }
}

/// Finds faces. The published network was trained on far more scenes than the one that ships.
pub const YOLO: &[Candidate] = &[alone(&["yolov10n-face-akanametov"]), alone(&["yolov10n-face"])];

/// Liveness, by the authors' figures on sets that they did not train on, where they give any.
pub const ANTISPOOF: &[Candidate] = &[
    alone(&["anti-spoof-mn3"]),
    alone(&["minifasnet-v2se"]),
    alone(&["minifasnet-v2se-bin"]),
    // Made to be used together: one sees the face, the other what surrounds it.
    Candidate { name: "silent-face", parts: &["minifasnet-v2", "minifasnet-v1se"] },
    alone(&["face-antispoofing"]),
];

/// Age and gender.
pub const GENDER_AGE: &[Candidate] = &[alone(&["genderage"]), alone(&["faceres"])];

/// Generated and swapped faces. What a user pulled on purpose goes before what ships: no figure of both on one set exists.
pub const DEEPFAKE: &[Candidate] = &[alone(&["vit-deepfake"]), alone(&["deepfake-efficientnet-lite"])];

/// The networks that may answer for `service`, best first; empty for one whose networks are not a matter of choice.
pub const fn candidates(service: Service) -> &'static [Candidate] {
    match service {
        Service::Yolo => YOLO,
        Service::Antispoof => ANTISPOOF,
        Service::GenderAge => GENDER_AGE,
        Service::Deepfake => DEEPFAKE,
        Service::Mediapipe | Service::Mtcnn | Service::Recognition => &[],
    }
}

/// The candidate that answers for `service` among the networks that are `present`; `Err` within is the sentence that says
/// why none does.
///
/// # Errors
/// [`EngineError::Selection`] if the chosen network is unknown or has no weights here: a choice is not replaced by
/// another one silently.
pub(crate) fn choose(
    service: Service,
    present: &dyn Fn(&str) -> bool,
    selection: &Selection,
) -> Result<std::result::Result<Candidate, String>> {
    let all = candidates(service);
    let missing = |c: &Candidate| c.parts.iter().copied().find(|part| !present(part));
    let Some(chosen) = selection.networks.get(&service) else {
        let best = all.iter().copied().find(|c| missing(c).is_none());
        return Ok(best.ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|c| c.name).collect();
            format!("no network for {service} has weights here (known: {}); {}", names.join(", "), bring(names[0]))
        }));
    };
    let Some(candidate) = all.iter().find(|c| c.name == chosen) else {
        let names: Vec<&str> = all.iter().map(|c| c.name).collect();
        let reason = if names.is_empty() {
            format!("{service} has no networks to choose from")
        } else {
            format!("{service} has no network \"{chosen}\"; it can be {}", names.join(", "))
        };
        return Err(EngineError::Selection { reason });
    };
    match missing(candidate) {
        None => Ok(Ok(*candidate)),
        Some(part) => Err(EngineError::Selection {
            reason: format!("{chosen} was chosen for {service}, but {part} has no weights here; {}", bring(part)),
        }),
    }
}

/// Names of the networks that would answer, or the sentence that says why none would.
pub type Planned = std::result::Result<Vec<String>, String>;

/// The networks that would answer for each service, by their names in `models-src`, without reading any weights; `Err`
/// within is the sentence that says why none would.
///
/// # Errors
/// As when the engine is loaded: a chosen network that is unknown or absent.
pub fn plan(folders: &Folders, selection: &Selection) -> Result<Vec<(Service, Planned)>> {
    let present = |name: &str| folders.find(name).is_some();
    let fixed = |names: &[&str]| match names.iter().find(|name| !present(name)) {
        None => Ok(names.iter().map(|n| (*n).to_owned()).collect()),
        Some(name) => Err(format!("{name} has no weights here; {}", bring(name))),
    };
    let answer = |service: Service| -> Result<Planned> {
        Ok(match service {
            Service::Mediapipe => fixed(&["blazeface-short", "blazeface-full"]),
            Service::Mtcnn => fixed(&["mtcnn"]),
            Service::Recognition => {
                let ensemble = Ensemble::choose(&present, selection);
                fixed(&ensemble.members().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
            }
            _ => choose(service, &present, selection)?.map(|c| c.parts.iter().map(|p| (*p).to_owned()).collect()),
        })
    };
    Service::ALL.iter().map(|&service| Ok((service, answer(service)?))).collect()
}

/// The sentence that tells how to bring a network's weights.
pub(crate) fn bring(name: &str) -> String {
    format!("run `facesocial models pull {name}`; `facesocial models list` shows what there is")
}

/// Members of the recognition ensemble, each with its weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensemble(Vec<(String, f32)>);

impl Ensemble {
    /// What ships: chosen on the LFW development pairs, see `models-src/ensemble/CARD.md`.
    pub fn bundled() -> Self {
        Self::of(&[("mobilefacenet", 0.2), ("dlib-resnet", 0.75), ("faceres", 0.05)])
    }

    /// The original system's, of the full profile.
    pub fn full() -> Self {
        Self::of(&[("adaface-ir101", 0.25), ("facenet-inception-resnet-v1", 0.5), ("arcface-iresnet100", 0.25)])
    }

    fn of(members: &[(&str, f32)]) -> Self {
        Self(members.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect())
    }

    /// The members; the weights add up to one.
    pub fn members(&self) -> &[(String, f32)] {
        &self.0
    }

    /// The ensemble that was chosen, else the full profile's if all its members are present, else the bundled one.
    pub(crate) fn choose(present: &dyn Fn(&str) -> bool, selection: &Selection) -> Self {
        let full = Self::full();
        match &selection.ensemble {
            Some(chosen) => chosen.clone(),
            None if full.0.iter().all(|(name, _)| present(name)) => full,
            None => Self::bundled(),
        }
    }
}

impl FromStr for Ensemble {
    type Err = String;

    /// `NAME:WEIGHT,NAME:WEIGHT`; weights are made to add up to one. A single name needs no weight.
    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let mut members: Vec<(String, f32)> = Vec::new();
        for part in s.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, weight) = part.split_once(':').unwrap_or((part, "1"));
            let weight: f32 = weight.trim().parse().map_err(|_| format!("\"{weight}\" is no weight"))?;
            let name = name.trim().to_owned();
            if !(weight.is_finite() && weight > 0.0) {
                return Err(format!("the weight of {name} must be above 0"));
            }
            if members.iter().any(|(n, _)| *n == name) {
                return Err(format!("{name} is named twice"));
            }
            members.push((name, weight));
        }
        if members.is_empty() {
            return Err("name at least one network, such as adaface-ir101:0.5,arcface-iresnet100:0.5".to_owned());
        }
        let total: f32 = members.iter().map(|(_, w)| w).sum();
        members.iter_mut().for_each(|(_, w)| *w /= total);
        Ok(Self(members))
    }
}

/// A network chosen for a service, written `SERVICE=NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The service.
    pub service: Service,
    /// The network.
    pub network: String,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let (service, network) =
            s.split_once('=').ok_or_else(|| format!("\"{s}\" is not SERVICE=NAME, such as deepfake=vit-deepfake"))?;
        let service: Service = service.parse().map_err(|e: facesocial_types::ParseNameError| e.to_string())?;
        let names: Vec<&str> = candidates(service).iter().map(|c| c.name).collect();
        let network = network.trim();
        match () {
            () if names.contains(&network) => Ok(Self { service, network: network.to_owned() }),
            () if service == Service::Recognition => Err("choose recognition's networks with --ensemble".to_owned()),
            () if names.is_empty() => Err(format!("{service} has no networks to choose from")),
            () => Err(format!("{service} has no network \"{network}\"; it can be {}", names.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folders(names: &[&str]) -> (tempfile::TempDir, Folders) {
        let dir = tempfile::tempdir().unwrap();
        let entries: String = names
            .iter()
            .map(|n| {
                fs::write(dir.path().join(n), b"x").unwrap();
                format!(
                    "[[network]]\nname = \"{n}\"\nfile = \"{n}\"\nsha256 = \"0\"\nparameters = 1\nlicence = \"MIT\"\n"
                )
            })
            .collect();
        fs::write(dir.path().join(crate::LOCK_FILE), entries).unwrap();
        let folders = Folders::open(dir.path(), None).unwrap();
        (dir, folders)
    }

    fn chosen(
        service: Service,
        present: &[&str],
        choice: Option<&str>,
    ) -> Result<std::result::Result<&'static str, String>> {
        let (_dir, folders) = folders(present);
        let networks = choice.map(|c| (service, c.to_owned())).into_iter().collect();
        let present = |name: &str| folders.find(name).is_some();
        let found = choose(service, &present, &Selection { networks, ensemble: None })?;
        Ok(found.map(|c| c.name))
    }

    #[test]
    fn the_best_one_present_answers() {
        let name = |present: &[&str]| chosen(Service::Antispoof, present, None).unwrap().unwrap();
        assert_eq!(name(&["face-antispoofing"]), "face-antispoofing");
        assert_eq!(name(&["face-antispoofing", "anti-spoof-mn3", "minifasnet-v2se"]), "anti-spoof-mn3");
        // Half of a pair is none.
        assert_eq!(name(&["face-antispoofing", "minifasnet-v2"]), "face-antispoofing");
        assert_eq!(name(&["face-antispoofing", "minifasnet-v2", "minifasnet-v1se"]), "silent-face");
    }

    #[test]
    fn without_weights_the_reason_names_the_command() {
        let reason = chosen(Service::Deepfake, &["faceres"], None).unwrap().unwrap_err();
        assert!(reason.contains("facesocial models pull vit-deepfake"), "{reason}");
    }

    #[test]
    fn a_choice_is_kept_or_refused_never_replaced() {
        let present = ["face-antispoofing", "anti-spoof-mn3"];
        assert_eq!(
            chosen(Service::Antispoof, &present, Some("face-antispoofing")).unwrap().unwrap(),
            "face-antispoofing"
        );
        let message = |choice| chosen(Service::Antispoof, &present, Some(choice)).unwrap_err().to_string();
        assert!(message("minifasnet-v2se").contains("models pull minifasnet-v2se"));
        assert!(message("faceres").contains("it can be anti-spoof-mn3"));
    }

    #[test]
    fn the_full_ensemble_needs_all_its_members() {
        let name = |present: &[&str], ensemble: Option<&str>| {
            let (_dir, folders) = folders(present);
            let selection = Selection { ensemble: ensemble.map(|e| e.parse().unwrap()), ..Selection::default() };
            Ensemble::choose(&|name: &str| folders.find(name).is_some(), &selection)
        };
        let all = ["adaface-ir101", "facenet-inception-resnet-v1", "arcface-iresnet100"];
        assert_eq!(name(&all[..2], None), Ensemble::bundled());
        assert_eq!(name(&all, None), Ensemble::full());
        assert_eq!(name(&all, Some("dlib-resnet")).members(), [("dlib-resnet".to_owned(), 1.0)]);
    }

    #[test]
    fn a_plan_names_the_networks_of_every_service() {
        let (_dir, folders) = folders(&["mtcnn", "minifasnet-v2", "minifasnet-v1se", "blazeface-short"]);
        let plan: BTreeMap<_, _> = plan(&folders, &Selection::default()).unwrap().into_iter().collect();
        assert_eq!(plan.len(), Service::ALL.len());
        assert_eq!(plan[&Service::Mtcnn], Ok(vec!["mtcnn".to_owned()]));
        assert_eq!(plan[&Service::Antispoof], Ok(vec!["minifasnet-v2".to_owned(), "minifasnet-v1se".to_owned()]));
        assert!(plan[&Service::Mediapipe].as_ref().unwrap_err().starts_with("blazeface-full has no weights"));
        assert!(plan[&Service::Recognition].is_err());
    }

    #[test]
    fn ensembles_and_choices_are_read_and_faults_are_named() {
        let ensemble: Ensemble = "a:1, b:3".parse().unwrap();
        assert_eq!(ensemble.members(), [("a".to_owned(), 0.25), ("b".to_owned(), 0.75)]);
        for (text, fault) in
            [("", "at least one"), ("a:0", "above 0"), ("a:x", "no weight"), ("a,a", "twice"), ("a:NaN", "above 0")]
        {
            assert!(text.parse::<Ensemble>().unwrap_err().contains(fault), "{text}");
        }
        let choice: Choice = "deepfake=vit-deepfake".parse().unwrap();
        assert_eq!((choice.service, choice.network.as_str()), (Service::Deepfake, "vit-deepfake"));
        for (text, fault) in [
            ("x", "SERVICE=NAME"),
            ("foo=x", "allowed are mediapipe"),
            ("deepfake=x", "it can be vit-deepfake"),
            ("recognition=x", "--ensemble"),
            ("mtcnn=x", "no networks to choose"),
        ] {
            assert!(text.parse::<Choice>().unwrap_err().contains(fault), "{text}");
        }
    }

    #[test]
    fn the_weights_of_the_ensembles_add_up_to_one() {
        for ensemble in [Ensemble::bundled(), Ensemble::full()] {
            assert!((ensemble.members().iter().map(|(_, w)| w).sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }
}
