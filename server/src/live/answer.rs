//! What a frame is answered with: the tracks in it, and what the frames so far say of them.

use std::{collections::HashMap, time::Duration};

use facesocial_pipeline::track::{AttributeVote, Followed, Track, Tracker};
use facesocial_store::MatchedPerson;
use facesocial_types::Analyzer;
use serde_json::{Value, json};

use super::message::Wanted;
use crate::{
    error::ApiError,
    gallery::similarity,
    services::face::{BoxDto, LandmarksDto, MouthNames, score},
    state::milliseconds,
};

/// When a frame came and how long it took.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Between its coming and the beginning of its analysis.
    pub waited: Duration,
    /// The analysis, its wait for a core included.
    pub took: Duration,
    /// When it came, after `start`.
    pub at: Duration,
}

/// The answer for one frame; `name` holds its numbers.
pub fn frame(
    name: Value,
    followed: &Followed,
    tracker: &Tracker,
    people: &HashMap<String, MatchedPerson>,
    wanted: &Wanted,
    search_error: Option<ApiError>,
    times: Times,
) -> Value {
    let mut answer = json!({ "type": "frame" });
    if let (Value::Object(name), Some(answer)) = (name, answer.as_object_mut()) {
        answer.extend(name);
    }
    let visible = followed.visible.iter().filter_map(|id| tracker.track(*id));
    let hidden = tracker.tracks().filter(|track| !track.is_visible());
    answer["width"] = followed.width.into();
    answer["height"] = followed.height.into();
    answer["detector"] = followed.detector.as_str().into();
    answer["faces"] = followed.faces.into();
    answer["tracks"] = visible.chain(hidden).map(|t| track(t, people, wanted)).collect();
    answer["ended"] = followed.ended.iter().map(|track| track.id.0).collect();
    if let Some(error) = search_error {
        answer["search_error"] = json!({ "code": error.code.as_str(), "detail": error.detail });
    }
    answer["at_ms"] = milliseconds(times.at).into();
    answer["waited_ms"] = milliseconds(times.waited).into();
    answer["took_ms"] = milliseconds(times.took).into();
    answer
}

/// What the frames so far say of a track's age and gender.
pub fn gender_age(vote: &AttributeVote) -> Value {
    let gender = vote.gender();
    json!({
        "age": vote.age().map(|age| (f64::from(age) * 10.0).round() / 10.0),
        "gender": gender.map(|(gender, _)| gender),
        "gender_score": gender.map(|(_, probability)| score(probability)),
        "frames": vote.frames(),
    })
}

/// A track with its votes; a vote that was not asked for is left out.
fn track(track: &Track, people: &HashMap<String, MatchedPerson>, wanted: &Wanted) -> Value {
    let asked = |analyzer| wanted.analyzers.contains(&analyzer);
    let mut entry = json!({
        "id": track.id.0,
        "visible": track.is_visible(),
        "bbox": BoxDto::scored(&track.bbox, track.score),
        "landmarks": LandmarksDto::of(&track.landmarks, track.score, MouthNames::MouthFirst),
        "frames": track.hits,
        "first_seen_ms": milliseconds(track.first_seen),
        "last_seen_ms": milliseconds(track.last_seen),
        "best": {
            "frame": track.best.frame,
            "at_ms": milliseconds(track.best.at),
            "quality": score(track.best.quality),
        },
    });
    if asked(Analyzer::Antispoof) {
        let vote = &track.liveness;
        entry["liveness"] = json!({
            "decision": vote.decision(),
            "score": vote.score().map(score),
            "frames": vote.scores(),
        });
    }
    if asked(Analyzer::GenderAge) {
        entry["gender_age"] = gender_age(&track.attributes);
    }
    if wanted.collection.is_some() {
        let vote = &track.identity;
        let leading = vote.leading().map(|leading| {
            json!({
                "person": people.get(&leading.person),
                "votes": leading.votes,
                "similarity": similarity::in_steps(leading.similarity),
            })
        });
        entry["identity"] = json!({
            "person": vote.decided().and_then(|key| people.get(key)),
            "leading": leading,
            "frames": vote.ballots(),
        });
    }
    entry
}
