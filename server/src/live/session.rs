//! The frames of a live connection: what comes, what is worked on, what is told.

use std::{
    future::pending,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::web::Bytes;
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, MessageStream, ProtocolError};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::{
    connection::{Connection, End, broken},
    message::{self, Counts, Message, Start},
    run::Run,
    slot::{self, Frame, Slot},
};
use crate::{
    error::{ApiError, ApiResult, Code},
    services::face::score,
};

/// How often it is looked at the time, and whether the server stops.
const TICK: Duration = Duration::from_millis(250);

type Answer = (Value, ApiResult<Value>);

/// A connection whose client is known.
struct Talk {
    connection: Connection,
    slot: Slot,
    run: Option<Arc<Run>>,
    under_way: Option<Pin<Box<dyn Future<Output = Answer>>>>,
    /// The number that the client gave the frame to come.
    seq: Option<u64>,
    /// `stop` came: answered once no frame is under way.
    finishing: bool,
    /// The server stops.
    stopping: bool,
    /// Why frames are refused for the moment, though the client was known.
    barred: Option<ApiError>,
    /// Dropped frames that were told.
    told_dropped: u64,
    /// Frames that are among the server's figures already.
    counted: Counts,
    began: Instant,
    heard: Instant,
    pinged: Instant,
}

/// Talks with the client until either side ends it.
pub async fn run(mut connection: Connection, stream: MessageStream) {
    let began = Instant::now();
    let (end, counts) = match connection.enter(stream).await {
        Ok(stream) => {
            let mut talk = Talk::new(connection);
            let end = talk.listen(stream).await;
            talk.count();
            connection = talk.connection;
            (end, talk.slot.counts)
        }
        Err(end) => (end, Counts::default()),
    };
    let (seconds, reason) = (began.elapsed().as_secs(), end.reason());
    let Counts { received, analysed, dropped, failed } = counts;
    tracing::info!(seconds, received, analysed, dropped, failed, reason, "live connection ended");
    connection.close(&end).await;
}

impl Talk {
    fn new(connection: Connection) -> Self {
        let now = Instant::now();
        Self {
            connection,
            slot: Slot::new(now, Duration::ZERO),
            run: None,
            under_way: None,
            seq: None,
            finishing: false,
            stopping: false,
            barred: None,
            told_dropped: 0,
            counted: Counts::default(),
            began: now,
            heard: now,
            pinged: now,
        }
    }

    async fn listen(&mut self, mut stream: AggregatedMessageStream) -> End {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.begin();
            let turn = if self.under_way.is_none() && self.barred.is_none() { self.slot.turn() } else { None };
            let next = tokio::select! {
                message = stream.recv() => self.hear(message).await,
                answer = finished(&mut self.under_way) => self.answer(answer).await,
                () = until(turn) => Ok(()),
                _ = ticks.tick() => self.tick().await,
            };
            if let Err(end) = next {
                return end;
            }
        }
    }

    /// Begins with the frame that waits, if its turn has come.
    fn begin(&mut self) {
        if self.under_way.is_some() || self.barred.is_some() {
            return;
        }
        let Some(run) = &self.run else { return };
        if let Some(frame) = self.slot.take(Instant::now()) {
            let (run, state) = (Arc::clone(run), self.connection.state.clone());
            self.under_way = Some(Box::pin(async move {
                let name = frame.name();
                (name, run.frame(&state, frame).await)
            }));
        }
    }

    async fn hear(&mut self, message: Option<Result<AggregatedMessage, ProtocolError>>) -> Result<(), End> {
        self.heard = Instant::now();
        match message {
            Some(Ok(AggregatedMessage::Binary(bytes))) => self.take_frame(bytes).await,
            Some(Ok(AggregatedMessage::Text(text))) => match message::parse(&text) {
                Ok(Message::Auth { token }) => {
                    self.connection.authenticate(&token).await?;
                    self.stay().await
                }
                Ok(Message::Start(start)) => self.start(*start).await,
                Ok(Message::Frame { seq }) => {
                    self.seq = Some(seq);
                    Ok(())
                }
                Ok(Message::Stop {}) => self.stop().await,
                Err(error) => self.complain(&error, None).await,
            },
            Some(Ok(AggregatedMessage::Ping(bytes))) => self.connection.pong(&bytes).await,
            Some(Ok(AggregatedMessage::Pong(_))) => Ok(()),
            Some(Ok(AggregatedMessage::Close(_))) => Err(End::with(CloseCode::Normal, "closed")),
            Some(Err(error)) => Err(broken(&error)),
            None => Err(End::GONE),
        }
    }

    async fn start(&mut self, start: Start) -> Result<(), End> {
        if self.run.is_some() {
            return self.complain(&ApiError::invalid("frames are analysed already; send stop first"), None).await;
        }
        let Connection { state, access, .. } = &self.connection;
        let begun = match start.checked(state.live.config.fps) {
            Ok(wanted) => Run::begin(wanted, access, state).await,
            Err(error) => Err(error),
        };
        let run = match begun {
            Ok(run) => run,
            Err(error) => return self.complain(&error, None).await,
        };
        let wanted = &run.wanted;
        let far = wanted.collection.as_ref().map(|_| score(wanted.level.far().rate()));
        let started = json!({
            "type": "started",
            "analyses": wanted.analyzers,
            "detector": wanted.detector,
            "max_fps": wanted.fps,
            "collection": wanted.collection,
            "false_accept_rate": far,
        });
        self.slot.restart(Instant::now(), Duration::from_secs_f64(1.0 / wanted.fps));
        self.run = Some(Arc::new(run));
        self.connection.tell(&started).await
    }

    async fn stop(&mut self) -> Result<(), End> {
        if self.run.is_none() {
            return self.complain(&ApiError::invalid("nothing is analysed; send start first"), None).await;
        }
        self.slot.clear();
        self.finishing = true;
        self.finish().await
    }

    /// Answers `stop` and ends the connection of a server that stops, once no frame is under way.
    async fn finish(&mut self) -> Result<(), End> {
        if self.under_way.is_some() {
            return Ok(());
        }
        if self.finishing {
            (self.finishing, self.run) = (false, None);
            let stopped = json!({ "type": "stopped", "counts": self.slot.counts });
            self.connection.tell(&stopped).await?;
        }
        if self.stopping { Err(End::with(CloseCode::Away, "the server is stopping")) } else { Ok(()) }
    }

    async fn take_frame(&mut self, bytes: Bytes) -> Result<(), End> {
        self.slot.counts.received += 1;
        let (number, seq) = (self.slot.counts.received, self.seq.take());
        match self.frame(number, seq, bytes) {
            Ok(frame) => {
                self.slot.put(frame);
                Ok(())
            }
            Err(error) => {
                self.slot.counts.failed += 1;
                self.complain(&error, Some(slot::name(number, seq))).await
            }
        }
    }

    /// A frame that may wait.
    fn frame(&self, number: u64, seq: Option<u64>, bytes: Bytes) -> ApiResult<Frame> {
        if let Some(error) = &self.barred {
            return Err(error.clone());
        }
        self.connection.access.principal()?;
        if self.stopping {
            return Err(ApiError::new(Code::NotReady, "the server is stopping"));
        }
        if self.run.is_none() || self.finishing {
            return Err(ApiError::invalid("nothing is analysed; send {\"type\":\"start\"} first"));
        }
        let mut memory = self.connection.state.reserve();
        memory.grow(bytes.len())?;
        Ok(Frame { number, seq, came: Instant::now(), bytes, memory })
    }

    async fn answer(&mut self, (name, answer): Answer) -> Result<(), End> {
        self.under_way = None;
        match answer {
            Ok(mut answer) => {
                self.slot.counts.analysed += 1;
                let dropped = self.slot.counts.dropped;
                answer["dropped"] = dropped.into();
                answer["dropped_since"] = (dropped - self.told_dropped).into();
                self.told_dropped = dropped;
                self.connection.tell(&answer).await?;
            }
            Err(error) => {
                self.slot.counts.failed += 1;
                if let Some(seconds) = error.retry_after.or(error.code.retry_after()) {
                    self.slot.pause(Instant::now(), Duration::from_secs(seconds.into()));
                }
                self.complain(&error, Some(name)).await?;
            }
        }
        self.finish().await
    }

    /// Adds what became of frames since the last time to the server's figures.
    fn count(&mut self) {
        let (now, before) = (self.slot.counts, self.counted);
        let metrics = &self.connection.state.metrics;
        metrics.frames(now.analysed - before.analysed, now.dropped - before.dropped, now.failed - before.failed);
        self.counted = now;
    }

    /// What the time asks for.
    async fn tick(&mut self) -> Result<(), End> {
        self.count();
        let (now, config) = (Instant::now(), self.connection.state.live.config);
        if !self.stopping && self.connection.state.ready().is_err() {
            self.stopping = true;
            self.slot.clear();
            return self.finish().await;
        }
        if now - self.began > config.time {
            return Err(End::with(CloseCode::Normal, "the time of a live connection is over; open another"));
        }
        if now - self.heard > config.idle {
            return Err(End::with(CloseCode::Policy, "nothing was heard for too long"));
        }
        if now - self.heard.max(self.pinged) > config.idle / 3 {
            self.pinged = now;
            self.connection.ping().await?;
        }
        if now - self.connection.access.checked > config.recheck {
            match self.connection.access.recheck().await {
                Ok(()) => return self.stay().await,
                Err(error) if matches!(error.code, Code::Unauthenticated | Code::Forbidden) => {
                    return self.connection.refuse(error).await;
                }
                // Who cannot be looked up may have lost the right.
                Err(error) => {
                    if self.barred.is_none() {
                        self.complain(&error, None).await?;
                    }
                    self.barred = Some(error);
                }
            }
        }
        Ok(())
    }

    /// Goes on for whoever was just found to be there, unless what is told is not for them.
    async fn stay(&mut self) -> Result<(), End> {
        self.barred = None;
        let allowed = match (self.connection.access.principal(), &self.run) {
            (Ok(principal), Some(run)) => run.is_allowed(principal),
            (Ok(_), None) => true,
            (Err(_), _) => false,
        };
        if allowed {
            return Ok(());
        }
        let error = ApiError::new(Code::Forbidden, "the collection may no longer be searched");
        self.connection.refuse(error).await
    }

    async fn complain(&mut self, error: &ApiError, frame: Option<Value>) -> Result<(), End> {
        self.connection.tell(&message::error(error, frame)).await
    }
}

/// The frame under way, when it is done; never if there is none.
async fn finished(under_way: &mut Option<Pin<Box<dyn Future<Output = Answer>>>>) -> Answer {
    match under_way {
        Some(answer) => answer.await,
        None => pending().await,
    }
}

async fn until(turn: Option<Instant>) {
    match turn {
        Some(turn) => sleep_until(turn.into()).await,
        None => pending().await,
    }
}
