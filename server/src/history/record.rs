//! From an answer to the rows that are kept of it. What is stored is what was answered, rounding included.

use std::time::Duration;

use facesocial_store::{
    CollectionId, FaceId, NewAntispoof, NewDeepfake, NewDetection, NewGenderAge, NewRecognition, NewSession, UserId,
};
use facesocial_types::BBox;
use serde_json::Value;

use crate::gateway::Sent;

/// An analysis as it is stored: `faces` are the answer's, one after the other.
pub fn session(
    user_id: Option<UserId>,
    collection_id: Option<CollectionId>,
    sent: Sent,
    detector: &str,
    took: Duration,
    faces: &[Value],
) -> NewSession {
    NewSession {
        user_id,
        collection_id,
        image_hash: sent.hash,
        image_size: sent.size,
        mime_type: sent.media_type.to_owned(),
        image: sent.image,
        processing_time_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        detections: faces.iter().zip(0..).map(|(face, index)| detection(face, index, detector)).collect(),
    }
}

fn detection(face: &Value, face_index: u32, detector: &str) -> NewDetection {
    let found = &face["detection"];
    let bbox = &found["bbox"];
    let side = |name: &str| number(&bbox[name]).unwrap_or_default();
    NewDetection {
        face_index,
        detection_method: detector.to_owned(),
        bbox: BBox::new(side("x"), side("y"), side("width"), side("height")),
        landmarks: Some(found["landmarks"].clone()).filter(|marks| !marks.is_null()),
        confidence_score: side("confidence"),
        quality_metrics: answered(&face["quality"]).cloned(),
        recognition: answered(&face["recognition"]).and_then(recognition),
        antispoof: answered(&face["antispoofing"]).and_then(antispoof),
        gender_age: answered(&face["gender_age"]).and_then(gender_age),
        deepfake: answered(&face["deepfake"]).and_then(deepfake),
    }
}

/// The answer, unless there is none or it only says why not.
fn answered(answer: &Value) -> Option<&Value> {
    let members = answer.as_object()?;
    (!members.contains_key("reason")).then_some(answer)
}

fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// The most similar face of the gallery; there is none of a face that nobody is like.
fn recognition(answer: &Value) -> Option<NewRecognition> {
    let best = answer["matches"].as_array()?.first()?;
    let similarity_score = number(&best["similarity"])?;
    let threshold = number(&answer["match_threshold"]);
    Some(NewRecognition {
        matched_face_id: best["face_id"].as_str().and_then(|id| id.parse().ok().map(FaceId)),
        similarity_score,
        recognition_method: text(&answer["model"])?,
        is_verified_match: threshold.is_some_and(|threshold| similarity_score >= threshold),
    })
}

fn antispoof(answer: &Value) -> Option<NewAntispoof> {
    let is_real = match answer["decision"].as_str()? {
        "live" => Some(true),
        "spoof" => Some(false),
        _ => None,
    };
    let confidence_score = number(&answer["confidence"])?;
    Some(NewAntispoof { is_real, confidence_score, spoof_type: None, details: answer.clone() })
}

fn gender_age(answer: &Value) -> Option<NewGenderAge> {
    let year = |name: &str| answer["age_range"][name].as_u64().and_then(|year| u8::try_from(year).ok());
    Some(NewGenderAge {
        predicted_gender: text(&answer["gender"]),
        gender_confidence: number(&answer["gender_confidence"]),
        predicted_age: number(&answer["age"])?,
        age_range: year("min").zip(year("max")).map(|(min, max)| [min, max]),
    })
}

fn deepfake(answer: &Value) -> Option<NewDeepfake> {
    let is_deepfake = match answer["decision"].as_str()? {
        "fake" => Some(true),
        "real" => Some(false),
        _ => None,
    };
    Some(NewDeepfake {
        is_deepfake,
        confidence_score: number(&answer["confidence"])?,
        detection_method: text(&answer["model"])?,
        details: answer.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_face_is_stored_as_it_was_answered() {
        let id = FaceId::new();
        let face = json!({
            "detection": {
                "bbox": { "x": 1.0, "y": 2.0, "width": 30.0, "height": 40.0, "confidence": 0.98 },
                "landmarks": { "type": "5_point" },
            },
            "quality": { "quality_category": "good" },
            "recognition": {
                "model": "net@1", "match_threshold": 0.8, "matches": [{ "face_id": id, "similarity": 0.9 }],
            },
            "antispoofing": { "decision": "uncertain", "confidence": 0.6, "is_real": false, "model": "live@1" },
            "gender_age": {
                "gender": "female", "gender_confidence": 0.9, "age": 41.5, "age_range": { "min": 30, "max": 58 },
            },
            "deepfake": { "status": "unavailable", "reason": "no weights" },
        });
        let stored = detection(&face, 3, "mtcnn");
        assert_eq!((stored.face_index, stored.bbox), (3, BBox::new(1.0, 2.0, 30.0, 40.0)));
        assert_eq!(stored.confidence_score, 0.98);
        let matched = stored.recognition.unwrap();
        assert_eq!((matched.matched_face_id, matched.is_verified_match), (Some(id), true));
        assert_eq!(stored.antispoof.unwrap().is_real, None, "what was not decided stays undecided");
        let attributes = stored.gender_age.unwrap();
        assert_eq!((attributes.predicted_age, attributes.age_range), (41.5, Some([30, 58])));
        assert!(stored.deepfake.is_none(), "a missing answer is no row");
    }

    #[test]
    fn what_was_not_asked_for_is_not_stored() {
        let face = json!({
            "detection": { "bbox": { "x": 0.0, "y": 0.0, "width": 9.0, "height": 9.0, "confidence": 0.5 } },
            "recognition": { "model": "net@1", "matches": [] },
            "quality": null,
        });
        let stored = detection(&face, 0, "yolo");
        assert!(stored.landmarks.is_none() && stored.quality_metrics.is_none() && stored.recognition.is_none());
        assert!(stored.antispoof.is_none() && stored.gender_age.is_none());
    }
}
