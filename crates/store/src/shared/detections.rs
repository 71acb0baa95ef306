//! The faces of stored analyses, each with its results.

use facesocial_types::BBox;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _, types::Json};
use uuid::Uuid;

use super::{DbRow, Time, Tx, dialect::FOR_KEY_SHARE};
use crate::{
    error::{Result, StoreError},
    numbers::shortest,
    text::{check_json, check_key, check_text},
    types::*,
};

/// Most characters of a name that a network answers, such as a kind of attack.
const MAX_LABEL: usize = 100;

pub(super) async fn insert(tx: &mut Tx, session: &Session, new: &NewDetection) -> Result<()> {
    let id = DetectionId::new();
    let at = Time::from(session.created_at);
    sqlx::query(
        "INSERT INTO face_detections (id, session_id, face_index, detection_method, bounding_box, landmarks, \
         confidence_score, quality_metrics, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id.0)
    .bind(session.id.0)
    .bind(i64::from(new.face_index))
    .bind(&new.detection_method)
    .bind(Json(new.bbox))
    .bind(new.landmarks.as_ref().map(Json))
    .bind(new.confidence_score)
    .bind(new.quality_metrics.as_ref().map(Json))
    .bind(at)
    .execute(tx.connection())
    .await?;
    if let Some(recognition) = &new.recognition {
        insert_recognition(tx, session, id, recognition).await?;
    }
    if let Some(antispoof) = &new.antispoof {
        sqlx::query(
            "INSERT INTO antispoof_results (detection_id, is_real, confidence_score, spoof_type, analysis_details, \
             created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id.0)
        .bind(antispoof.is_real)
        .bind(antispoof.confidence_score)
        .bind(&antispoof.spoof_type)
        .bind(Json(&antispoof.details))
        .bind(at)
        .execute(tx.connection())
        .await?;
    }
    if let Some(gender_age) = &new.gender_age {
        sqlx::query(
            "INSERT INTO gender_age_results (detection_id, predicted_gender, gender_confidence, predicted_age, \
             age_range_min, age_range_max, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id.0)
        .bind(&gender_age.predicted_gender)
        .bind(gender_age.gender_confidence)
        .bind(gender_age.predicted_age)
        .bind(gender_age.age_range.map(|[least, _]| i64::from(least)))
        .bind(gender_age.age_range.map(|[_, most]| i64::from(most)))
        .bind(at)
        .execute(tx.connection())
        .await?;
    }
    if let Some(deepfake) = &new.deepfake {
        sqlx::query(
            "INSERT INTO deepfake_results (detection_id, is_deepfake, confidence_score, detection_method, \
             analysis_details, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id.0)
        .bind(deepfake.is_deepfake)
        .bind(deepfake.confidence_score)
        .bind(&deepfake.detection_method)
        .bind(Json(&deepfake.details))
        .bind(at)
        .execute(tx.connection())
        .await?;
    }
    Ok(())
}

/// A match that was erased since the search is left out, as erasing it later would have taken it out.
async fn insert_recognition(
    tx: &mut Tx,
    session: &Session,
    detection: DetectionId,
    new: &NewRecognition,
) -> Result<()> {
    if let Some(face) = new.matched_face_id {
        let sql = format!("SELECT 1 FROM faces WHERE collection_id = $1 AND id = $2{FOR_KEY_SHARE}");
        let there = sqlx::query(AssertSqlSafe(sql))
            .bind(session.collection_id.map(|id| id.0))
            .bind(face.0)
            .fetch_optional(tx.connection())
            .await?;
        if there.is_none() {
            return Ok(());
        }
    }
    sqlx::query(
        "INSERT INTO face_recognitions (detection_id, collection_id, matched_face_id, similarity_score, \
         recognition_method, is_verified_match, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(detection.0)
    .bind(session.collection_id.map(|id| id.0))
    .bind(new.matched_face_id.map(|id| id.0))
    .bind(new.similarity_score)
    .bind(&new.recognition_method)
    .bind(new.is_verified_match)
    .bind(Time::from(session.created_at))
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// By index.
pub(super) async fn of_session(tx: &mut Tx, session: SessionId) -> Result<Vec<StoredDetection>> {
    let rows = sqlx::query(
        "SELECT d.id, d.face_index, d.detection_method, d.bounding_box, d.landmarks, d.confidence_score, \
                d.quality_metrics, \
                r.detection_id IS NOT NULL AS has_recognition, r.matched_face_id, r.similarity_score, \
                r.recognition_method, r.is_verified_match, \
                a.detection_id IS NOT NULL AS has_antispoof, a.is_real, a.confidence_score AS antispoof_score, \
                a.spoof_type, a.analysis_details AS antispoof_details, \
                g.detection_id IS NOT NULL AS has_gender_age, g.predicted_gender, g.gender_confidence, \
                g.predicted_age, g.age_range_min, g.age_range_max, \
                f.detection_id IS NOT NULL AS has_deepfake, f.is_deepfake, f.confidence_score AS deepfake_score, \
                f.detection_method AS deepfake_method, f.analysis_details AS deepfake_details \
         FROM face_detections d \
         LEFT JOIN face_recognitions r ON r.detection_id = d.id \
         LEFT JOIN antispoof_results a ON a.detection_id = d.id \
         LEFT JOIN gender_age_results g ON g.detection_id = d.id \
         LEFT JOIN deepfake_results f ON f.detection_id = d.id \
         WHERE d.session_id = $1 ORDER BY d.face_index",
    )
    .bind(session.0)
    .fetch_all(tx.connection())
    .await?;
    rows.iter().map(read).collect()
}

fn read(row: &DbRow) -> Result<StoredDetection> {
    let score = |column: &str| -> Result<Value> { Ok(shortest(row.try_get::<Option<f32>, _>(column)?)) };
    let json = |column: &str| -> Result<Option<Value>> {
        Ok(row.try_get::<Option<Json<Value>>, _>(column)?.map(|json| json.0))
    };
    let text = |column: &str| -> Result<Option<String>> { Ok(row.try_get(column)?) };
    let flag = |column: &str| -> Result<Option<bool>> { Ok(row.try_get(column)?) };
    let years = |column: &str| -> Result<Option<i32>> { Ok(row.try_get(column)?) };

    let recognition = if row.try_get("has_recognition")? {
        Some(json!({
            "matched_face_id": row.try_get::<Option<Uuid>, _>("matched_face_id")?,
            "similarity_score": score("similarity_score")?,
            "recognition_method": text("recognition_method")?,
            "is_verified_match": flag("is_verified_match")?,
        }))
    } else {
        None
    };
    let antispoof = if row.try_get("has_antispoof")? {
        Some(json!({
            "is_real": flag("is_real")?,
            "confidence_score": score("antispoof_score")?,
            "spoof_type": text("spoof_type")?,
            "analysis_details": json("antispoof_details")?,
        }))
    } else {
        None
    };
    let gender_age = if row.try_get("has_gender_age")? {
        Some(json!({
            "predicted_gender": text("predicted_gender")?,
            "gender_confidence": score("gender_confidence")?,
            "predicted_age": score("predicted_age")?,
            "age_range_min": years("age_range_min")?,
            "age_range_max": years("age_range_max")?,
        }))
    } else {
        None
    };
    let deepfake = if row.try_get("has_deepfake")? {
        Some(json!({
            "is_deepfake": flag("is_deepfake")?,
            "confidence_score": score("deepfake_score")?,
            "detection_method": text("deepfake_method")?,
            "analysis_details": json("deepfake_details")?,
        }))
    } else {
        None
    };
    Ok(StoredDetection {
        id: DetectionId(row.try_get("id")?),
        face_index: row.try_get::<i32, _>("face_index")?.max(0) as u32,
        detection_method: row.try_get("detection_method")?,
        bbox: row.try_get::<Json<BBox>, _>("bounding_box")?.0,
        confidence_score: row.try_get("confidence_score")?,
        landmarks: json("landmarks")?,
        quality_metrics: json("quality_metrics")?,
        recognition,
        antispoof,
        gender_age,
        deepfake,
    })
}

pub(super) fn check(new: &NewDetection) -> Result<()> {
    if i32::try_from(new.face_index).is_err() {
        return Err(StoreError::Invalid("the index of a face is too large".to_owned()));
    }
    let NewDetection { bbox, confidence_score, recognition, antispoof, gender_age, deepfake, .. } = new;
    let numbers = [bbox.x, bbox.y, bbox.width, bbox.height, *confidence_score]
        .into_iter()
        .chain(recognition.as_ref().map(|r| r.similarity_score))
        .chain(antispoof.as_ref().map(|a| a.confidence_score))
        .chain(gender_age.as_ref().map(|g| g.predicted_age))
        .chain(gender_age.as_ref().and_then(|g| g.gender_confidence))
        .chain(deepfake.as_ref().map(|d| d.confidence_score));
    if numbers.into_iter().any(|number| !number.is_finite()) {
        return Err(StoreError::Invalid("boxes and scores are finite numbers".to_owned()));
    }
    check_key("the detection method", &new.detection_method)?;
    new.landmarks.as_ref().map_or(Ok(()), |landmarks| check_json("the landmarks", landmarks))?;
    new.quality_metrics.as_ref().map_or(Ok(()), |metrics| check_json("the quality metrics", metrics))?;
    if let Some(recognition) = recognition {
        check_key("the recognition method", &recognition.recognition_method)?;
    }
    if let Some(antispoof) = antispoof {
        check_text("the kind of attack", antispoof.spoof_type.as_deref().unwrap_or_default(), MAX_LABEL)?;
        check_json("the details of liveness", &antispoof.details)?;
    }
    if let Some(gender_age) = gender_age {
        check_text("the gender", gender_age.predicted_gender.as_deref().unwrap_or_default(), MAX_LABEL)?;
    }
    if let Some(deepfake) = deepfake {
        check_key("the deepfake method", &deepfake.detection_method)?;
        check_json("the details of the deepfake detection", &deepfake.details)?;
    }
    Ok(())
}
