//! Rows as values of the domain.

use facesocial_types::{BBox, ModelId};
use serde_json::Value;
use sqlx::{Row, types::Json};
use uuid::Uuid;

use super::{DbRow, Time};
use crate::{
    error::{Result, StoreError},
    types::{Collection, CollectionId, FaceId, FaceRecord, Match, MatchedPerson, Page, PageRequest, Person, PersonId},
};

/// A page from rows, of which one more was asked for than the page holds.
pub(crate) fn to_page<T>(
    items: impl Iterator<Item = Result<T>>,
    page: PageRequest,
    id: impl Fn(&T) -> Uuid,
) -> Result<Page<T>> {
    let mut items = items.collect::<Result<Vec<T>>>()?;
    let more = items.len() > page.limit as usize;
    items.truncate(page.limit as usize);
    let next = if more { items.last().map(id) } else { None };
    Ok(Page { items, next })
}

/// Stands between the models of a face in one column; no name holds it.
pub(super) const SEPARATOR: &str = "\u{1f}";

pub(super) fn collection(row: &DbRow) -> Result<Collection> {
    Ok(Collection {
        id: CollectionId(row.try_get("id")?),
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        created_at: row.try_get::<Time, _>("created_at")?.0,
        persons: number(row, "persons")?,
        faces: number(row, "faces")?,
    })
}

pub(super) fn person(row: &DbRow) -> Result<Person> {
    Ok(Person {
        id: PersonId(row.try_get("id")?),
        collection_id: CollectionId(row.try_get("collection_id")?),
        external_id: row.try_get("external_id")?,
        name: row.try_get("name")?,
        metadata: row.try_get::<Json<Value>, _>("metadata")?.0,
        created_at: row.try_get::<Time, _>("created_at")?.0,
        updated_at: row.try_get::<Time, _>("updated_at")?.0,
        faces: number(row, "faces")?,
    })
}

pub(super) fn face(row: &DbRow) -> Result<FaceRecord> {
    let models: Option<String> = row.try_get("models")?;
    let mut models =
        models.as_deref().unwrap_or_default().split_terminator(SEPARATOR).map(model).collect::<Result<Vec<_>>>()?;
    models.sort_unstable();
    Ok(FaceRecord {
        id: FaceId(row.try_get("id")?),
        collection_id: CollectionId(row.try_get("collection_id")?),
        person_id: row.try_get::<Option<Uuid>, _>("person_id")?.map(PersonId),
        face_hash: row.try_get("face_hash")?,
        bbox: BBox {
            x: row.try_get("box_x")?,
            y: row.try_get("box_y")?,
            width: row.try_get("box_width")?,
            height: row.try_get("box_height")?,
        },
        detection_score: row.try_get("detection_score")?,
        quality_score: row.try_get("quality_score")?,
        face_group: row.try_get("face_group")?,
        searchable: row.try_get("searchable")?,
        metadata: row.try_get::<Json<Value>, _>("metadata")?.0,
        models,
        has_crop: row.try_get("has_crop")?,
        created_at: row.try_get::<Time, _>("created_at")?.0,
    })
}

/// A face that a search found, from columns of `faces` and, as far as there is one, of its person.
pub(super) fn matched(row: &DbRow, similarity: f64) -> Result<Match> {
    let person = match row.try_get::<Option<Uuid>, _>("person_id")? {
        Some(id) => Some(MatchedPerson {
            id: PersonId(id),
            external_id: row.try_get("external_id")?,
            name: row.try_get("name")?,
        }),
        None => None,
    };
    Ok(Match {
        face_id: FaceId(row.try_get("face_id")?),
        similarity: similarity.clamp(-1.0, 1.0) as f32,
        face_group: row.try_get("face_group")?,
        metadata: row.try_get::<Json<Value>, _>("metadata")?.0,
        person,
    })
}

/// Most similar first, equal ones by identifier; at most `limit`, none below `least`.
pub(super) fn best(mut scored: Vec<(f64, Match)>, limit: usize, least: f32) -> Vec<Match> {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.face_id.cmp(&b.1.face_id)));
    scored.truncate(limit);
    scored.into_iter().map(|(_, found)| found).filter(|found| found.similarity >= least).collect()
}

/// Cosine of a stored vector and the probe.
pub(super) fn similarity(face: FaceId, stored: &[f32], probe: &[f32]) -> Result<f64> {
    facesocial_search::cosine(stored, probe)
        .ok_or_else(|| StoreError::Damaged(format!("the vector of face {face} has no direction")))
}

pub(super) fn model(written: &str) -> Result<ModelId> {
    ModelId::parse(written).ok_or_else(|| StoreError::Damaged(format!("\"{written}\" is not a model")))
}

/// A count.
pub(super) fn number(row: &DbRow, column: &str) -> Result<u64> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreError::Damaged(format!("{column} is negative")))
}
