//! `facesocial video`.

use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Args;
use facesocial_pipeline::{
    DetectOptions,
    track::{FollowOptions, Follower, Track, TrackOptions},
};
use facesocial_types::{Analyzer, AnalyzerSet, Detector, Gender, LivenessDecision};
use serde_json::{Value, json};

use super::{RunArgs, json::VERSION, length, progress::Progress, share, table::TextTable};
use crate::{
    live,
    video::{Frames, VideoOptions},
};

/// Options of `facesocial video`.
#[derive(Debug, Args)]
pub struct VideoArgs {
    /// A video file, in any format that ffmpeg reads.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Time between two frames that are looked at: 200ms, 1s. Faces that move fast need short ones.
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = interval)]
    every: Duration,
    /// What to tell of each track beside its frames: antispoof, gender_age, recognition (which compares looks, so that a
    /// face keeps its track where others cross), separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "antispoof,gender_age,recognition")]
    services: Vec<Analyzer>,
    /// How faces are looked for: auto, mediapipe, mediapipe_short, mediapipe_full, yolo or mtcnn.
    #[arg(long, value_name = "NAME", default_value_t = Detector::Auto)]
    detector: Detector,
    /// Write one JSON document instead of a table.
    #[arg(long)]
    json: bool,
    /// Look at no more than so many frames.
    #[arg(long, value_name = "N", default_value_t = 18_000, value_parser = clap::value_parser!(u64).range(1..))]
    max_frames: u64,
    /// Leave out faces lower than this many pixels.
    #[arg(long, value_name = "PIXELS", value_parser = length)]
    min_size: Option<f32>,
    /// Leave out faces that the detector is less sure of than this, 0 to 1.
    #[arg(long, value_name = "SCORE", value_parser = share::<f32>)]
    min_score: Option<f32>,
    /// The program that decodes videos.
    #[arg(long, env = "FACESOCIAL_FFMPEG", value_name = "PATH", default_value = "ffmpeg")]
    ffmpeg: OsString,
    #[command(flatten)]
    run: RunArgs,
}

/// What was seen of a video.
struct Seen {
    path: String,
    every: Duration,
    size: (u32, u32),
    frames: u64,
    cut: bool,
    detector: String,
    tracks: Vec<Track>,
    asked: AnalyzerSet,
}

/// Runs the command.
///
/// # Errors
/// No ffmpeg, a file that it cannot decode, no weights, standard output closed.
pub fn run(args: &VideoArgs) -> anyhow::Result<ExitCode> {
    let asked: AnalyzerSet = args.services.iter().copied().collect();
    if asked.contains(Analyzer::Deepfake) {
        anyhow::bail!("deepfake is not told of videos; allowed are quality, recognition, antispoof, gender_age");
    }
    // Before the networks, whose loading takes longer than it takes to see that there is no video.
    let options = VideoOptions { ffmpeg: args.ffmpeg.clone(), every: args.every, max_frames: args.max_frames };
    let mut frames = Frames::open(&args.file, &options)?;
    let pipeline = args.run.load(asked)?;
    let defaults = DetectOptions::default();
    let detect = DetectOptions {
        detector: args.detector,
        min_score: args.min_score.unwrap_or(defaults.min_score),
        min_size: args.min_size.unwrap_or(defaults.min_size),
        ..defaults
    };
    // Between frames that are far apart a face may be missing longer.
    let track =
        TrackOptions { max_gap: TrackOptions::default().max_gap.max(args.every * 4), ..TrackOptions::default() };
    let mut follower = Follower::new(&pipeline, FollowOptions { detect, analyzers: asked, track });
    let mut seen = Seen {
        path: args.file.to_string_lossy().into_owned(),
        every: args.every,
        size: (0, 0),
        frames: 0,
        cut: false,
        detector: String::new(),
        tracks: Vec::new(),
        asked,
    };
    while let Some((at, image)) = frames.next_frame()? {
        seen.frames += 1;
        let followed = follower
            .frame(&pipeline, &image, seen.frames, at)
            .with_context(|| format!("frame {} cannot be analysed", seen.frames))?;
        (seen.size, seen.detector) = ((followed.width, followed.height), followed.detector);
        seen.tracks.extend(followed.ended);
    }
    seen.cut = frames.was_cut();
    seen.tracks.extend(follower.finish());
    seen.tracks.sort_by_key(|track| track.id);
    let output = Progress::new(1, "videos");
    output.print(&if args.json { seen.json().to_string() + "\n" } else { seen.text() })?;
    if seen.cut {
        writeln!(std::io::stderr(), "{}: the video goes on; --max-frames looks at more of it", seen.path).ok();
    }
    Ok(ExitCode::SUCCESS)
}

impl Seen {
    fn text(&self) -> String {
        let plural = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
        let (frames, tracks) = (usize::try_from(self.frames).unwrap_or(usize::MAX), self.tracks.len());
        let mut out = format!(
            "{}  {} x {}  {} at every {} ms  {}\n",
            self.path,
            self.size.0,
            self.size.1,
            plural(frames, "frame"),
            self.every.as_millis(),
            plural(tracks, "track"),
        );
        if self.tracks.is_empty() {
            return out;
        }
        let mut head = vec!["#", "from", "to", "frames", "best at", "quality"];
        let (live, age) = (self.asked.contains(Analyzer::Antispoof), self.asked.contains(Analyzer::GenderAge));
        head.extend(live.then_some("live"));
        head.extend(age.then_some("age, gender"));
        let mut table = TextTable::new(head);
        for track in &self.tracks {
            let mut cells = vec![
                track.id.to_string(),
                clock(track.first_seen),
                clock(track.last_seen),
                track.hits.to_string(),
                clock(track.best.at),
                format!("{:.2}", track.best.quality),
            ];
            cells.extend(live.then(|| liveness(track)));
            cells.extend(age.then(|| gender_age(track)));
            table.row(cells);
        }
        out += &table.render();
        out
    }

    fn json(&self) -> Value {
        json!({
            "version": VERSION,
            "video": {
                "path": self.path,
                "width": self.size.0,
                "height": self.size.1,
                "every_ms": whole_ms(self.every),
                "frames": self.frames,
                "complete": !self.cut,
                "detector": self.detector,
            },
            "tracks": self.tracks.iter().map(|track| self.track(track)).collect::<Vec<_>>(),
        })
    }

    /// A track; a vote that was not asked for is absent.
    fn track(&self, track: &Track) -> Value {
        let score = |value: f32| (f64::from(value) * 1e4).round() / 1e4;
        let b = track.best.bbox;
        let pixels = [b.x, b.y, b.width, b.height].map(|v| (f64::from(v) * 100.0).round() / 100.0);
        let mut entry = json!({
            "id": track.id.0,
            "from_ms": whole_ms(track.first_seen),
            "to_ms": whole_ms(track.last_seen),
            "frames": track.hits,
            "best": {
                "frame": track.best.frame,
                "at_ms": whole_ms(track.best.at),
                "quality": score(track.best.quality),
                "box": { "x": pixels[0], "y": pixels[1], "width": pixels[2], "height": pixels[3] },
            },
        });
        if self.asked.contains(Analyzer::Antispoof) {
            let vote = &track.liveness;
            let mean = vote.score().map(score);
            entry["antispoof"] = json!({ "decision": vote.decision(), "score": mean, "frames": vote.scores() });
        }
        if self.asked.contains(Analyzer::GenderAge) {
            entry["gender_age"] = live::gender_age(&track.attributes);
        }
        entry
    }
}

fn liveness(track: &Track) -> String {
    let decision = match track.liveness.decision() {
        LivenessDecision::Live => "live",
        LivenessDecision::Spoof => "spoof",
        LivenessDecision::Uncertain => "uncertain",
    };
    track.liveness.score().map_or_else(|| "-".to_owned(), |score| format!("{decision} {score:.2}"))
}

fn gender_age(track: &Track) -> String {
    let (Some(age), Some((gender, probability))) = (track.attributes.age(), track.attributes.gender()) else {
        return "-".to_owned();
    };
    let gender = match gender {
        Gender::Male => "male",
        Gender::Female => "female",
    };
    format!("{age:.0}, {gender} {probability:.2}")
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Minutes and seconds, to a tenth.
fn clock(time: Duration) -> String {
    let tenths = time.as_millis() / 100;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

/// A time between two frames, for clap.
fn interval(text: &str) -> Result<Duration, String> {
    let (digits, unit) = match text.trim() {
        text if text.ends_with("ms") => (text.trim_end_matches("ms"), 1e-3),
        text if text.ends_with('s') => (text.trim_end_matches('s'), 1.0),
        text => (text, 0.0),
    };
    let seconds = digits.trim().parse::<f64>().ok().map(|n| n * unit);
    let found = seconds.filter(|s| (0.01..=3600.0).contains(s)).map(Duration::from_secs_f64);
    found.ok_or_else(|| "a time from 10ms to 3600s is needed, such as 200ms or 1s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(interval("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(interval("1.5s"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "200", "0ms", "-1s", "1m", "4000s", "NaNs", "s"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_told_in_minutes() {
        assert_eq!(clock(Duration::from_millis(61_249)), "1:01.2");
        assert_eq!(clock(Duration::from_secs(3600)), "60:00.0");
    }
}
