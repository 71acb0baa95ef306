//! Enrolment: one good face of a photo becomes a face of the gallery.

use facesocial_store::{Collection, CollectionId, Enrolled, NewFace, NewPerson, Outcome, PersonRef, Write};
use facesocial_types::{BBox, QualityReason};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    ask::Ask,
    identity::{Identity, IdentityCheck, identity},
    names,
    probe::{Probe, Target, probes},
};
use crate::{
    auth::{Permission, Search},
    cached::{Caching, GROUP_DIGITS},
    error::{ApiError, ApiResult, Code},
    extract::{Fields, PhotoRequest, Upload, hex},
    services::face::score,
    state::State,
};

/// Group of a face unless the client names one.
const DEFAULT_GROUP: &str = "primary";

/// Reasons that no score outweighs: such a face is not recognised later.
const DISQUALIFYING: [QualityReason; 3] = [QualityReason::SmallFace, QualityReason::ExtremePose, QualityReason::CutOff];

/// Whose face it is.
#[derive(Debug, Clone)]
pub enum Owner {
    /// A person that exists, by a path's key.
    Person(String),
    /// Whom the fields name by `external_id`, made if there is nobody of that name; nobody if they name none.
    OfFields,
    /// The original's `user_id`.
    User(String),
}

/// How a photo is enrolled.
#[derive(Debug, Clone, PartialEq)]
pub struct EnrolOptions {
    target: Target,
    gate: bool,
    identity_check: IdentityCheck,
    face_group: String,
    searchable: bool,
    metadata: Value,
}

impl EnrolOptions {
    /// From `target_face`, `quality_gate`, `identity_check`, `face_group`, `searchable` and `metadata`.
    ///
    /// # Errors
    /// A value that is not allowed.
    pub fn of(fields: &Fields) -> ApiResult<Self> {
        let face_group = fields.get("face_group").unwrap_or(DEFAULT_GROUP).to_owned();
        names::face_group(&face_group)?;
        Ok(Self {
            target: Target::of(fields, Target::Only)?,
            gate: fields.flag("quality_gate")?.unwrap_or(true),
            identity_check: fields.one_of("identity_check")?.unwrap_or_default(),
            face_group,
            searchable: fields.flag("searchable")?.unwrap_or(true),
            metadata: names::metadata(fields.json("metadata")?)?,
        })
    }

    /// The options with another check of whose face it is.
    #[must_use]
    pub fn with_identity_check(self, identity_check: IdentityCheck) -> Self {
        Self { identity_check, ..self }
    }
}

impl Owner {
    async fn resolve<P: Permission>(
        self,
        ask: &Ask<P>,
        collection: &Collection,
        fields: &Fields,
    ) -> ApiResult<Option<PersonRef>> {
        let external_id = match self {
            Self::Person(key) => return Ok(Some(PersonRef::Id(ask.person(collection, &key).await?.id))),
            Self::User(external_id) => Some(external_id),
            Self::OfFields => fields.get("external_id").map(str::to_owned),
        };
        let Some(external_id) = external_id else { return Ok(None) };
        person_named(&external_id, fields.get("name").unwrap_or_default()).map(Some)
    }
}

/// The person that a client calls `external_id`, made with `name` if there is nobody of that name.
///
/// # Errors
/// A name that is not allowed.
pub fn person_named(external_id: &str, name: &str) -> ApiResult<PersonRef> {
    names::external_id(external_id)?;
    names::name(name)?;
    let (external_id, name) = (external_id.to_owned(), name.to_owned());
    Ok(PersonRef::GetOrCreate(NewPerson { external_id, name, metadata: names::metadata(None)? }))
}

/// What enrolling a photo gave.
#[derive(Debug)]
pub struct Enrolment {
    /// The face.
    pub outcome: Outcome<Enrolled>,
    /// Whose face the gallery takes it for; `None` where that was not looked up: by a repetition, or if it was not wanted.
    pub identity: Option<Identity>,
    /// Whether the face had been computed before.
    pub cached: bool,
}

/// Enrols the face of a photo.
///
/// # Errors
/// No face, several, or one of low quality; a face that is enrolled already; a wrong value; a store that does not answer.
pub async fn enrol<P: Permission>(
    ask: &Ask<P>,
    collection: &str,
    owner: Owner,
    request: PhotoRequest,
    caching: Caching,
) -> ApiResult<Enrolment> {
    let options = EnrolOptions::of(&request.fields)?;
    let write = ask.write(request.fingerprint(&ask.req));
    // Before anything costly is done for a repetition.
    if let Some(outcome) = ask.replayed(&write).await? {
        return Ok(Enrolment { outcome, identity: None, cached: false });
    }
    let PhotoRequest { image, image_hash, fields } = request;
    let collection = ask.collection(collection).await?;
    let person = owner.resolve(ask, &collection, &fields).await?;
    let may_search = ask.principal().may::<Search>();
    let into = Destination { collection: collection.id, person, may_search };
    enrol_face(&ask.state, &write, into, (image, image_hash), options, caching).await
}

/// Where a face goes.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The gallery.
    pub collection: CollectionId,
    /// Whose it is; `None` keeps it as a face of nobody known.
    pub person: Option<PersonRef>,
    /// Whether whoever enrols it may learn whom it is like.
    pub may_search: bool,
}

/// Enrols the face of a photo, given with the sha256 of its bytes, for whoever is named in `write`.
///
/// # Errors
/// No face, several, or one of low quality; a face that is enrolled already, or seems to be somebody else's; a store that does
/// not answer.
pub async fn enrol_face(
    state: &State,
    write: &Write,
    into: Destination,
    (image, image_hash): (Upload, String),
    options: EnrolOptions,
    caching: Caching,
) -> ApiResult<Enrolment> {
    let keeping = state.keeping;
    let keep_crop = keeping.images;
    let found = probes(state, image, &image_hash, options.target, keep_crop, caching).await?;
    let (probe, cached) = found.first()?;
    if options.gate {
        gate(&probe, keeping.enrol_quality)?;
    }
    let embedding = probe.embedding()?;
    let Destination { collection, person, may_search } = into;
    let identity = match options.identity_check {
        IdentityCheck::Off => None,
        _ => identity(state, collection, person.as_ref(), embedding).await?,
    };
    if options.identity_check == IdentityCheck::Refuse {
        let none = || {
            ApiError::new(
                Code::ModelUnavailable,
                "no similarity was measured for the network that runs; send identity_check=off",
            )
        };
        identity.as_ref().ok_or_else(none)?.require(may_search)?;
    }
    let face = NewFace {
        person,
        face_hash: face_hash(&image_hash, &probe.bbox),
        bbox: probe.bbox,
        detection_score: probe.score,
        quality_score: probe.quality,
        face_group: options.face_group,
        searchable: options.searchable,
        metadata: options.metadata,
        embeddings: vec![embedding.clone()],
        crop: probe.crop,
    };
    let outcome = state.store()?.enroll(write, collection, face).await?;
    // Whom a face is like is an answer to a search.
    Ok(Enrolment { outcome, identity: identity.filter(|_| may_search), cached })
}

/// Refuses a face of less than `least` quality, and one that would not be recognised by this photo, with every reason.
fn gate(probe: &Probe, least: f32) -> ApiResult<()> {
    let disqualified = probe.reasons.iter().any(|reason| DISQUALIFYING.contains(reason));
    if probe.quality >= least && !disqualified {
        return Ok(());
    }
    let too_low = || format!("the face's quality is {:.2}, and {least:.2} is needed", probe.quality);
    let mut told: Vec<String> = (probe.quality < least).then(too_low).into_iter().collect();
    told.extend(probe.reasons.iter().map(|reason| reason.advice().to_owned()));
    let detail =
        format!("{}. Take another photo, or send quality_gate=false to enrol it all the same", told.join("; "));
    let reasons: Vec<Value> = probe.reasons.iter().filter_map(|reason| serde_json::to_value(reason).ok()).collect();
    Err(ApiError::new(Code::LowQuality, detail).with("reasons", reasons).with("quality_score", score(probe.quality)))
}

/// Digest over image and box, 64 hex digits. It begins with those of the image that name the image's group in the cache, so
/// that the group is known when the face is deleted; the image itself cannot be told from it.
pub fn face_hash(image_hash: &str, bbox: &BBox) -> String {
    let mut digest = Sha256::new();
    digest.update(image_hash);
    for side in [bbox.x, bbox.y, bbox.width, bbox.height] {
        // Whole pixels: the last digits of a box depend on the processor.
        digest.update((side.round() as i64).to_le_bytes());
    }
    let image = image_hash.get(..GROUP_DIGITS).unwrap_or(image_hash);
    let mut hash = image.to_owned();
    hash.push_str(&hex(&digest.finalize())[..64 - image.len().min(64)]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cached::group;

    #[test]
    fn a_face_hash_tells_boxes_apart_and_names_the_images_group() {
        let image = "0f".repeat(32);
        let hash = |x: f32| face_hash(&image, &BBox::new(x, 2.0, 3.0, 4.0));
        assert_eq!(hash(1.0).len(), 64);
        assert_eq!(hash(1.0), hash(1.2));
        assert_ne!(hash(1.0), hash(2.0));
        assert_ne!(hash(1.0), face_hash(&"0e".repeat(32), &BBox::new(1.0, 2.0, 3.0, 4.0)));
        assert_eq!(group(&hash(1.0)), group(&image));
    }

    #[test]
    fn a_bad_photo_is_refused_with_every_reason() {
        let probe = |quality: f32, reasons: &[QualityReason]| {
            let json = serde_json::json!({
                "index": 0, "bbox": BBox::default(), "score": 0.9, "quality": quality, "reasons": reasons,
                "embedding": { "Err": "not needed" },
            });
            serde_json::from_value::<Probe>(json).unwrap()
        };
        assert!(gate(&probe(0.4, &[QualityReason::Blurred]), 0.4).is_ok(), "the score outweighs it");
        assert!(gate(&probe(0.9, &[QualityReason::ExtremePose]), 0.4).is_err(), "no score outweighs it");
        assert!(gate(&probe(0.0, &[]), 0.0).is_ok());
        let error = gate(&probe(0.25, &[QualityReason::Blurred, QualityReason::TooDark]), 0.4).unwrap_err();
        assert_eq!(error.code, Code::LowQuality);
        let members = error.problem(None).members.unwrap();
        assert_eq!(members["reasons"], serde_json::json!(["blurred", "too_dark"]));
        assert_eq!(members["quality_score"], 0.25);
        assert!(error.detail.contains("blurred") && error.detail.contains("quality_gate"), "{error}");
    }

    #[test]
    fn options_have_defaults_and_limits() {
        let of = |pairs: &[(&str, &str)]| {
            let mut fields = Fields::default();
            for (name, value) in pairs {
                fields.push((*name).to_owned(), (*value).to_owned());
            }
            EnrolOptions::of(&fields)
        };
        let plain = of(&[]).unwrap();
        assert_eq!((plain.target, plain.gate, plain.face_group.as_str()), (Target::Only, true, "primary"));
        assert_eq!(of(&[("target_face", "2")]).unwrap().target, Target::Index(2));
        for wrong in [
            ("target_face", "-1"),
            ("face_group", "a b"),
            ("metadata", "[1]"),
            ("quality_gate", "often"),
            ("identity_check", "on"),
        ] {
            assert!(of(&[wrong]).is_err(), "{wrong:?}");
        }
    }
}
