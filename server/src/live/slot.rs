//! The frames of a connection: at most one is worked on, at most one waits. A newer one takes the waiting one's place.

use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use serde_json::{Value, json};

use super::message::Counts;
use crate::state::Reservation;

/// A frame as it came.
#[derive(Debug)]
pub struct Frame {
    /// Its number on this connection, from 1.
    pub number: u64,
    /// The client's number.
    pub seq: Option<u64>,
    /// When it came.
    pub came: Instant,
    /// The file.
    pub bytes: Bytes,
    /// Counts its bytes against the server's memory for uploads.
    pub memory: Reservation,
}

impl Frame {
    /// What answers call it.
    pub fn name(&self) -> Value {
        name(self.number, self.seq)
    }
}

/// A frame's numbers as members of an answer.
pub fn name(number: u64, seq: Option<u64>) -> Value {
    match seq {
        Some(seq) => json!({ "frame": number, "seq": seq }),
        None => json!({ "frame": number }),
    }
}

/// The waiting frame, and when its turn comes.
#[derive(Debug)]
pub struct Slot {
    waiting: Option<Frame>,
    /// Before this, no frame is begun.
    not_before: Instant,
    interval: Duration,
    /// What became of the frames.
    pub counts: Counts,
}

impl Slot {
    /// Without frames. Between the beginnings of two analyses lies at least `interval`.
    pub fn new(now: Instant, interval: Duration) -> Self {
        Self { waiting: None, not_before: now, interval, counts: Counts::default() }
    }

    /// Another interval, and no frame; the counts go on.
    pub fn restart(&mut self, now: Instant, interval: Duration) {
        self.clear();
        (self.not_before, self.interval) = (now, interval);
    }

    /// Lets a frame wait; one that waited before is dropped.
    pub fn put(&mut self, frame: Frame) {
        if self.waiting.replace(frame).is_some() {
            self.counts.dropped += 1;
        }
    }

    /// The frame whose turn has come.
    pub fn take(&mut self, now: Instant) -> Option<Frame> {
        if now < self.not_before {
            return None;
        }
        let frame = self.waiting.take()?;
        self.not_before = now + self.interval;
        Some(frame)
    }

    /// When the waiting frame's turn comes; `None` if none waits.
    pub fn turn(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|_| self.not_before)
    }

    /// Begins no frame for a while: the server is busy.
    pub fn pause(&mut self, now: Instant, time: Duration) {
        self.not_before = self.not_before.max(now + time);
    }

    /// Drops the waiting frame: no more is wanted.
    pub fn clear(&mut self) {
        if self.waiting.take().is_some() {
            self.counts.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    fn frame(number: u64, now: Instant) -> Frame {
        let config = crate::config::Config::try_from(defaults()).unwrap();
        let state = State::new(&config, facesocial_cache::open(None, 1 << 20).unwrap());
        Frame { number, seq: None, came: now, bytes: Bytes::new(), memory: state.reserve() }
    }

    fn defaults() -> crate::config::ServeArgs {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            serve: crate::config::ServeArgs,
        }
        <Cli as clap::Parser>::parse_from(["serve"]).serve
    }

    #[test]
    fn the_newest_frame_waits_and_the_others_are_counted() {
        let now = Instant::now();
        let mut slot = Slot::new(now, Duration::from_millis(100));
        (1..=5).for_each(|n| slot.put(frame(n, now)));
        assert_eq!(slot.take(now).map(|f| f.number), Some(5));
        assert_eq!((slot.counts.dropped, slot.turn()), (4, None));
    }

    #[test]
    fn frames_are_begun_no_more_often_than_asked_and_not_while_the_server_is_busy() {
        let (now, tenth) = (Instant::now(), Duration::from_millis(100));
        let mut slot = Slot::new(now, tenth);
        slot.put(frame(1, now));
        assert!(slot.take(now).is_some());
        slot.put(frame(2, now));
        assert!(slot.take(now + tenth / 2).is_none());
        assert_eq!(slot.turn(), Some(now + tenth));
        slot.pause(now, tenth * 20);
        assert!(slot.take(now + tenth).is_none());
        assert_eq!(slot.take(now + tenth * 20).map(|f| f.number), Some(2));
        slot.put(frame(3, now));
        slot.clear();
        assert_eq!((slot.turn(), slot.counts.dropped), (None, 1));
    }
}
