//! Collections, persons, faces.

use facesocial_types::{BBox, Embedding, ModelId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::ids::{CollectionId, FaceId, PersonId};

/// Name of the collection that is there from the start.
pub const DEFAULT_COLLECTION: &str = "default";

/// A gallery of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// Its identifier.
    pub id: CollectionId,
    /// Unique name.
    pub name: String,
    /// For people.
    pub description: String,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// How many persons it holds.
    pub persons: u64,
    /// How many faces it holds.
    pub faces: u64,
}

/// A collection to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewCollection {
    /// Unique name.
    pub name: String,
    /// For people.
    pub description: String,
}

/// A person of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Person {
    /// Its identifier.
    pub id: PersonId,
    /// The gallery.
    pub collection_id: CollectionId,
    /// The client's own name for the person, unique in the collection: `user_id` of the original's requests.
    pub external_id: String,
    /// For people.
    pub name: String,
    /// Whatever the client wants to keep.
    pub metadata: Value,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// How many faces show the person.
    pub faces: u64,
}

/// A person to be made.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NewPerson {
    /// The client's own name for the person, unique in the collection.
    pub external_id: String,
    /// For people.
    pub name: String,
    /// Whatever the client wants to keep.
    pub metadata: Value,
}

/// A change of a person; `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct PersonChange {
    /// For people.
    pub name: Option<String>,
    /// Replaces all metadata.
    pub metadata: Option<Value>,
}

/// A face of a collection, without its embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaceRecord {
    /// Its identifier.
    pub id: FaceId,
    /// The gallery.
    pub collection_id: CollectionId,
    /// The person shown; `None` for a face of nobody known.
    pub person_id: Option<PersonId>,
    /// sha256 over image and box, hex; unique in the collection.
    pub face_hash: String,
    /// Where the face was in its photo.
    pub bbox: BBox,
    /// The detector's score, 0..=1.
    pub detection_score: f32,
    /// Quality at enrolment, 0..=1.
    pub quality_score: f32,
    /// `primary`, `alternate` or whatever the client sorts by.
    pub face_group: String,
    /// Whether a search may find it.
    pub searchable: bool,
    /// Whatever the client wants to keep.
    pub metadata: Value,
    /// Models whose embedding of this face is stored.
    pub models: Vec<ModelId>,
    /// Whether the aligned crop is kept, so that another model can embed the face later.
    pub has_crop: bool,
    /// When it was enrolled.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// A face to be enrolled.
#[derive(Debug, Clone)]
pub struct NewFace {
    /// Whose it is; `None` keeps it as a face of nobody known.
    pub person: Option<PersonRef>,
    /// sha256 over image and box, hex.
    pub face_hash: String,
    /// Where the face was in its photo.
    pub bbox: BBox,
    /// The detector's score, 0..=1.
    pub detection_score: f32,
    /// Quality at enrolment, 0..=1.
    pub quality_score: f32,
    /// `primary`, `alternate` or whatever the client sorts by.
    pub face_group: String,
    /// Whether a search may find it.
    pub searchable: bool,
    /// Whatever the client wants to keep.
    pub metadata: Value,
    /// One embedding for each model, at least one.
    pub embeddings: Vec<Embedding>,
    /// Encoded crop to embed the face again by another model; only where keeping images was configured.
    pub crop: Option<Vec<u8>>,
}

/// How a face's person is named.
#[derive(Debug, Clone)]
pub enum PersonRef {
    /// A person that exists.
    Id(PersonId),
    /// By the client's own name; made in the same transaction if there is none yet.
    GetOrCreate(NewPerson),
}

/// A change of a face; `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct FaceChange {
    /// Whose it is.
    pub person: Option<PersonId>,
    /// Its group.
    pub face_group: Option<String>,
    /// Whether a search may find it.
    pub searchable: Option<bool>,
    /// Replaces all metadata.
    pub metadata: Option<Value>,
}

/// What enrolling gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The face.
    pub face: FaceRecord,
    /// Its person.
    pub person: Option<Person>,
    /// Whether the person was made for it.
    pub person_created: bool,
}

/// A probe to look for.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// The gallery.
    pub collection: CollectionId,
    /// Compared with embeddings of the same model and dimension only.
    pub probe: Embedding,
    /// Most matches, 1 and more.
    pub limit: usize,
    /// Least cosine similarity, -1..=1.
    pub min_similarity: f32,
    /// Only faces of these groups; empty for all.
    pub groups: Vec<String>,
    /// Only faces of this person.
    pub person: Option<PersonId>,
}

/// A face that is like the probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// The face.
    pub face_id: FaceId,
    /// Cosine similarity, -1..=1, exact for the stored vector.
    pub similarity: f32,
    /// Its group.
    pub face_group: String,
    /// The face's metadata.
    pub metadata: Value,
    /// Whom it shows.
    pub person: Option<MatchedPerson>,
}

/// The person of a match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatchedPerson {
    /// Its identifier.
    pub id: PersonId,
    /// The client's own name for the person.
    pub external_id: String,
    /// For people.
    pub name: String,
}

/// What a search gave.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchResult {
    /// Most similar first, equal ones by identifier.
    pub matches: Vec<Match>,
    /// How many embeddings the gallery holds for the probe's model.
    pub searched: u64,
}

/// What deleting a person or a collection took away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// Persons.
    pub persons: u64,
    /// Faces.
    pub faces: u64,
    /// Embeddings.
    pub embeddings: u64,
    /// Faces in stored analyses.
    pub detections: u64,
    /// Stored analyses of which nothing was left.
    pub sessions: u64,
    /// Hashes of the images concerned: what a cache may still hold of them.
    pub image_hashes: Vec<String>,
}

/// Everything about one person, for the person.
#[derive(Debug, Clone, Serialize)]
pub struct PersonExport {
    /// The person.
    pub person: Person,
    /// The faces, with their embeddings.
    pub faces: Vec<ExportedFace>,
    /// Where the person was recognised in stored analyses.
    pub history: Vec<Value>,
    /// Which results of jobs name the person.
    pub job_results: Vec<Value>,
    /// Entries of the audit trail that name the person.
    pub audit: Vec<Value>,
}

/// A face with its embeddings.
#[derive(Debug, Clone, Serialize)]
pub struct ExportedFace {
    /// The face.
    #[serde(flatten)]
    pub face: FaceRecord,
    /// By model.
    pub embeddings: Vec<ExportedEmbedding>,
}

/// A vector with the model that made it.
#[derive(Debug, Clone, Serialize)]
pub struct ExportedEmbedding {
    /// The model.
    pub model: ModelId,
    /// The unit-norm vector.
    pub vector: Vec<f32>,
}

/// Size of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GalleryStats {
    /// Collections.
    pub collections: u64,
    /// Persons.
    pub persons: u64,
    /// Faces.
    pub faces: u64,
    /// Embeddings by model.
    pub embeddings: Vec<(String, u64)>,
}
