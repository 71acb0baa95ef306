//! Video files as frames, decoded by the program `ffmpeg` where it is installed.
//!
//! Decoders of the usual codecs in Rust are either bindings to large C libraries or cover one codec. A program of its own
//! reads them all, and what a damaged file does to it stays in its own process. It is started without a shell, gets the
//! file as an absolute path, opens nothing but files, and writes frames into a pipe that is read within limits.

pub mod ppm;

use std::{
    ffi::{OsStr, OsString},
    io::{BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use image::RgbImage;

/// Longest side of the frames; larger video is made smaller.
const MAX_SIDE: u32 = 1920;
/// Time within which the program must give the next frame or end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most of what the program complains that is kept, from its end.
const MAX_COMPLAINT: usize = 4096;
/// Containers that are opened. Play lists and the like, which lead to other files, are none of them.
const FORMATS: &str =
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,gif,mjpeg,h264,hevc,ivf,mxf,dv,wtv,rm";

/// Why a video cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// The file is not there, or is none.
    #[error("cannot open {path}: {source}")]
    File {
        /// As given.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// There is no such program.
    #[error(
        "videos are decoded by the program ffmpeg, and \"{program}\" was not found; install it (`apt install ffmpeg`, \
         `brew install ffmpeg`), or name it with --ffmpeg"
    )]
    NoProgram {
        /// What was to be started.
        program: String,
    },
    /// The program could not be started.
    #[error("cannot start \"{program}\": {source}")]
    Start {
        /// What was to be started.
        program: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The program gave up.
    #[error("ffmpeg cannot decode the video: {0}")]
    Decode(String),
    /// The program wrote something that is no frame.
    #[error("ffmpeg gave no usable frame: {0}")]
    Frame(#[from] std::io::Error),
    /// The program gave nothing for a while.
    #[error("ffmpeg gave no frame within {} seconds", PATIENCE.as_secs())]
    Stuck,
}

/// How a video is read.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoOptions {
    /// The program, by name or path.
    pub ffmpeg: OsString,
    /// Time between two frames.
    pub every: Duration,
    /// Frames after which it is not read on.
    pub max_frames: u64,
}

/// The frames of a video, in their order; each with its time.
pub struct Frames {
    options: VideoOptions,
    child: Child,
    frames: Receiver<std::io::Result<RgbImage>>,
    complaint: Option<JoinHandle<String>>,
    given: u64,
    /// Whether frames were left when the limit was reached.
    cut: bool,
    done: bool,
}

impl Frames {
    /// Starts to decode a file.
    ///
    /// # Errors
    /// The file is not there; the program is not there or does not start.
    pub fn open(path: &Path, options: &VideoOptions) -> Result<Self, VideoError> {
        let file = |source| VideoError::File { path: path.to_owned(), source };
        let absolute = path.canonicalize().map_err(file)?;
        if !absolute.is_file() {
            return Err(file(std::io::Error::other("it is no file")));
        }
        let mut child = Command::new(&options.ffmpeg)
            .args(arguments(&absolute, options))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| start_error(&options.ffmpeg, source))?;
        let complaint = child.stderr.take().map(|stderr| thread::spawn(move || tail(stderr)));
        let stdout = child.stdout.take();
        // One frame waits here while another is worked on; then the pipe makes the program wait.
        let (sender, frames) = sync_channel(1);
        thread::spawn(move || {
            let Some(stdout) = stdout else { return };
            let mut stdout: BufReader<ChildStdout> = BufReader::with_capacity(1 << 16, stdout);
            loop {
                let frame = ppm::read_frame(&mut stdout, u64::from(MAX_SIDE) * u64::from(MAX_SIDE)).transpose();
                let Some(frame) = frame else { return };
                let last = frame.is_err();
                if sender.send(frame).is_err() || last {
                    return;
                }
            }
        });
        Ok(Self { options: options.clone(), child, frames, complaint, given: 0, cut: false, done: false })
    }

    /// Whether the video went on after the last frame that was given.
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// The next frame and its time; `None` at the end.
    ///
    /// # Errors
    /// The video cannot be decoded; the program gives nothing for a while.
    pub fn next_frame(&mut self) -> Result<Option<(Duration, RgbImage)>, VideoError> {
        if self.done {
            return Ok(None);
        }
        match self.frames.recv_timeout(PATIENCE) {
            Ok(Ok(_)) if self.given == self.options.max_frames => {
                (self.cut, self.done) = (true, true);
                Ok(None)
            }
            Ok(Ok(frame)) => {
                let at = self.options.every.saturating_mul(u32::try_from(self.given).unwrap_or(u32::MAX));
                self.given += 1;
                Ok(Some((at, frame)))
            }
            Ok(Err(error)) => {
                self.done = true;
                // What the program says of its end says more than what its output looks like.
                self.ended()?;
                Err(error.into())
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.done = true;
                self.ended().map(|()| None)
            }
            Err(RecvTimeoutError::Timeout) => {
                self.done = true;
                Err(VideoError::Stuck)
            }
        }
    }

    /// How the program ended. A video that breaks off after some frames is told as one that cannot be decoded.
    fn ended(&mut self) -> Result<(), VideoError> {
        let status = self.child.wait()?;
        let complaint = self.complaint.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let said = complaint.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it gave no reason");
        if status.success() && (self.given > 0 || complaint.trim().is_empty()) {
            return Ok(());
        }
        Err(VideoError::Decode(said.chars().filter(|c| !c.is_control()).take(300).collect()))
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // It has ended already, or is not wanted any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program's arguments.
fn arguments(file: &Path, options: &VideoOptions) -> Vec<OsString> {
    let mut url = OsString::from("file:");
    url.push(file);
    let rate = format!(
        "fps=fps=1000000/{},scale=w='min({MAX_SIDE},iw)':h='min({MAX_SIDE},ih)':force_original_aspect_ratio=decrease",
        options.every.as_micros().max(1)
    );
    // One frame more tells whether there are more.
    let frames = options.max_frames.saturating_add(1).to_string();
    let before = ["-hide_banner", "-nostdin", "-loglevel", "error", "-protocol_whitelist", "file,pipe"];
    let input = [OsStr::new("-format_whitelist"), OsStr::new(FORMATS), OsStr::new("-i"), &url].map(OsStr::to_owned);
    let after = ["-map", "0:v:0", "-an", "-sn", "-dn", "-vf", &rate, "-frames:v", &frames];
    let output = ["-c:v", "ppm", "-pix_fmt", "rgb24", "-f", "image2pipe", "pipe:1"];
    let owned = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
    [owned(&before), input.to_vec(), owned(&after), owned(&output)].concat()
}

fn start_error(program: &OsStr, source: std::io::Error) -> VideoError {
    let program = program.to_string_lossy().into_owned();
    match source.kind() {
        std::io::ErrorKind::NotFound => VideoError::NoProgram { program },
        _ => VideoError::Start { program, source },
    }
}

/// The end of what is read, whatever its length.
fn tail(mut from: impl Read) -> String {
    let (mut kept, mut chunk) = (Vec::new(), [0; 1024]);
    while let Ok(n @ 1..) = from.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..n]);
        let over = kept.len().saturating_sub(MAX_COMPLAINT);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(ffmpeg: &str) -> VideoOptions {
        VideoOptions { ffmpeg: ffmpeg.into(), every: Duration::from_millis(200), max_frames: 10 }
    }

    #[test]
    fn a_name_is_never_taken_for_an_option_or_an_address() {
        let arguments = arguments(Path::new("/videos/-f concat|http.mp4"), &options("ffmpeg"));
        let at = arguments.iter().position(|a| a == "-i").unwrap();
        assert_eq!(arguments[at + 1], "file:/videos/-f concat|http.mp4");
        assert!(arguments.iter().any(|a| a == "11"), "one frame more than may be");
        assert!(arguments.iter().any(|a| a.to_string_lossy().starts_with("fps=fps=1000000/200000,")));
    }

    #[test]
    fn what_is_missing_is_named_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let said = |path: &Path| Frames::open(path, &options("no-such-ffmpeg")).err().unwrap().to_string();
        assert!(said(&dir.path().join("absent.mp4")).contains("absent.mp4"));
        assert!(said(dir.path()).contains("no file"));
        let file = dir.path().join("a.mp4");
        std::fs::write(&file, "x").unwrap();
        let told = said(&file);
        assert!(told.contains("no-such-ffmpeg") && told.contains("install") && told.contains("--ffmpeg"), "{told}");
    }

    /// A stand-in for the program.
    #[cfg(unix)]
    fn read(script: &str, max_frames: u64) -> (Result<Vec<Duration>, VideoError>, bool) {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (program, file) = (dir.path().join("ffmpeg"), dir.path().join("a.mp4"));
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(&file, "x").unwrap();
        let options = VideoOptions { max_frames, ..options(program.to_str().unwrap()) };
        let mut frames = loop {
            match Frames::open(&file, &options) {
                // Another test's child may hold the script open for a moment.
                Err(VideoError::Start { source, .. }) if source.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                opened => break opened.unwrap(),
            }
        };
        let mut times = Vec::new();
        let read = loop {
            match frames.next_frame() {
                Ok(Some((at, frame))) => {
                    assert_eq!(frame.dimensions(), (2, 1));
                    times.push(at);
                }
                Ok(None) => break Ok(times),
                Err(error) => break Err(error),
            }
        };
        (read, frames.was_cut())
    }

    #[cfg(unix)]
    const FRAME: &str = r"printf 'P6\n2 1\n255\n123456'";

    #[cfg(unix)]
    #[test]
    fn frames_come_with_their_times_up_to_the_limit() {
        let three = format!("{FRAME}; {FRAME}; {FRAME}");
        let (times, cut) = read(&three, 10);
        assert_eq!((times.unwrap(), cut), ([0, 200, 400].map(Duration::from_millis).to_vec(), false));
        let (times, cut) = read(&three, 2);
        assert_eq!((times.unwrap().len(), cut), (2, true));
        // A program that never ends is not waited for.
        let (times, cut) = read(&format!("while :; do {FRAME}; done"), 2);
        assert_eq!((times.unwrap().len(), cut), (2, true));
    }

    #[cfg(unix)]
    #[test]
    fn what_the_program_complains_is_told() {
        let told = |script: &str| read(script, 10).0.unwrap_err().to_string();
        assert!(told("echo 'moov atom not found' >&2; exit 1").contains("moov atom not found"));
        assert!(told(&format!("{FRAME}; echo broken >&2; exit 69")).contains("broken"));
        assert!(told("exit 1").contains("no reason"));
        assert!(told("printf 'GIF89a no frame'").contains("no usable frame"));
        assert!(told("echo 'nothing was written' >&2").contains("nothing was written"));
    }
}
