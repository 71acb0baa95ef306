//! `facesocial video`, with a stand-in for ffmpeg that writes frames of the portrait.

#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Frames of the portrait, moving to the left, as the program writes them.
fn frames(count: u32) -> Vec<u8> {
    let portrait = image::open(root().join("tests/images/portrait.jpg")).unwrap().to_rgb8();
    let mut stream = Vec::new();
    for n in 0..count {
        let frame = image::imageops::crop_imm(&portrait, 8 * n, 0, 400, 400).to_image();
        stream.extend(b"P6\n400 400\n255\n");
        stream.extend(frame.into_raw());
    }
    stream
}

/// A folder with a video and a program that decodes it in this way.
fn folder(script: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("clip.mp4"), "what is in it is for the program to know").unwrap();
    fs::write(dir.path().join("frames"), frames(7)).unwrap();
    let program = dir.path().join("ffmpeg");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn video(dir: &Path, ffmpeg: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_facesocial"));
    command.arg("video").arg(dir.join("clip.mp4")).arg("--ffmpeg").arg(ffmpeg).args(args);
    command.env("FACESOCIAL_WEIGHTS", root().join("weights")).env("FACESOCIAL_MODELS_DIR", dir.join("none"));
    command.env_remove("RUST_LOG").env_remove("FACESOCIAL_LOG").env_remove("FACESOCIAL_FFMPEG");
    command.output().unwrap()
}

fn with_frames(args: &[&str]) -> Output {
    let dir = folder("cat \"$(dirname \"$0\")/frames\"");
    let program = dir.path().join("ffmpeg");
    video(dir.path(), program.to_str().unwrap(), args)
}

#[test]
fn the_faces_of_a_video_are_followed_and_told_as_tracks() {
    let output = with_frames(&["--json", "--detector", "mtcnn"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let video = &document["video"];
    assert_eq!((&video["frames"], &video["width"], &video["complete"]), (&7.into(), &400.into(), &true.into()));
    let tracks = document["tracks"].as_array().unwrap();
    assert_eq!(tracks.len(), 1, "{document}");
    let track = &tracks[0];
    assert_eq!((&track["from_ms"], &track["to_ms"], &track["frames"]), (&0.into(), &1200.into(), &7.into()));
    assert_eq!(track["antispoof"]["frames"], 5);
    assert!(track["gender_age"]["age"].as_f64().unwrap() > 15.0);
    let best = track["best"]["frame"].as_u64().unwrap();
    assert_eq!(track["best"]["at_ms"], 200 * (best - 1));
    assert!(!document.to_string().contains("embedding"));

    let output = with_frames(&["--detector", "mtcnn", "--services", "gender_age", "--max-frames", "3"]);
    let (text, notes) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(text.contains("3 frames at every 200 ms  1 track"), "{text}");
    assert!(text.contains("age, gender") && !text.contains("live") && text.contains("0:00.4"), "{text}");
    assert!(notes.contains("--max-frames"), "{notes}");
}

#[test]
fn what_stands_in_the_way_is_named() {
    let dir = folder("echo 'moov atom not found' >&2; exit 1");
    let program = dir.path().join("ffmpeg");
    let broken = video(dir.path(), program.to_str().unwrap(), &["--detector", "mtcnn", "--services", "quality"]);
    assert!(!broken.status.success() && String::from_utf8_lossy(&broken.stderr).contains("moov atom not found"));
    let absent = video(dir.path(), "no-such-ffmpeg", &[]);
    let said = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert!(!absent.status.success() && said.contains("install") && said.contains("--ffmpeg"), "{said}");
    let every = video(dir.path(), "no-such-ffmpeg", &["--every", "200"]);
    assert_eq!(every.status.code(), Some(2));
}
