//! The side of a live connection that knows no frames: who asks, what is told, how it ends.

use std::time::Duration;

use actix_web::web;
use actix_ws::{
    AggregatedMessageStream, CloseCode, CloseReason, Closed, Message as Raw, MessageStream, ProtocolError, Session,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    access::{Access, unauthenticated},
    message::{self, MAX_TEXT, Message},
    places::Place,
};
use crate::{
    error::{ApiError, ApiResult, Code},
    state::State,
};

/// Time within which a client must take a message.
const SEND: Duration = Duration::from_secs(10);
/// Version of the messages.
const VERSION: u32 = 1;

/// One live connection.
pub struct Connection {
    /// The way to the client.
    pub session: Session,
    /// What all requests share.
    pub state: web::Data<State>,
    /// Who asks.
    pub access: Access,
    /// Its place among the live connections.
    pub place: Option<Place>,
    /// Id of the handshake, as in the log.
    pub request_id: String,
}

/// Why a connection ends.
#[derive(Debug)]
pub struct End {
    /// Code and reason for the client; `None` if it is gone already.
    close: Option<(CloseCode, &'static str)>,
}

impl End {
    /// The client is gone.
    pub const GONE: Self = Self { close: None };

    /// An end that the client is told of.
    pub fn with(code: CloseCode, reason: &'static str) -> Self {
        Self { close: Some((code, reason)) }
    }

    /// Why, for the log.
    pub fn reason(&self) -> &'static str {
        self.close.map_or("the client is gone", |(_, reason)| reason)
    }
}

impl Connection {
    /// Waits until it is known who asks. Until then nothing but a short text is read.
    pub async fn enter(&mut self, stream: MessageStream) -> Result<AggregatedMessageStream, End> {
        let known = self.access.principal().is_ok();
        let limits = &self.state.limits;
        let config = self.state.live.config;
        self.tell(&json!({
            "type": "hello",
            "version": VERSION,
            "request_id": self.request_id,
            "authenticated": known,
            "limits": {
                "image_bytes": limits.image_bytes,
                "pixels": limits.pixels,
                "max_fps": config.fps,
                "idle_seconds": config.idle.as_secs(),
                "time_seconds": config.time.as_secs(),
            },
        }))
        .await?;
        let mut stream = stream.max_frame_size(MAX_TEXT);
        if !known {
            match timeout(config.sign_in, self.sign_in(&mut stream)).await {
                Ok(entered) => entered?,
                Err(_) => {
                    let error = ApiError::new(Code::Unauthenticated, "no token or key came in time");
                    self.tell(&message::error(&error, None)).await?;
                    return Err(End::with(CloseCode::Policy, "no token or key came in time"));
                }
            }
        }
        let most = self.state.limits.image_bytes.max(MAX_TEXT);
        Ok(stream.max_frame_size(most).aggregate_continuations().max_continuation_size(most))
    }

    async fn sign_in(&mut self, stream: &mut MessageStream) -> Result<(), End> {
        loop {
            match stream.recv().await {
                Some(Ok(Raw::Text(text))) => {
                    return match message::parse(&text) {
                        Ok(Message::Auth { token }) => self.authenticate(&token).await,
                        Ok(_) => self.refuse(unauthenticated()).await,
                        Err(error) => self.refuse(error).await,
                    };
                }
                Some(Ok(Raw::Ping(bytes))) => self.pong(&bytes).await?,
                Some(Ok(Raw::Pong(_) | Raw::Nop)) => {}
                Some(Ok(Raw::Binary(_) | Raw::Continuation(_))) => {
                    return self.refuse(unauthenticated()).await;
                }
                Some(Ok(Raw::Close(_))) => return Err(End::with(CloseCode::Normal, "closed")),
                Some(Err(error)) => return Err(broken(&error)),
                None => return Err(End::GONE),
            }
        }
    }

    /// Takes whom the token names; on any failure nobody is in, and the connection ends.
    pub async fn authenticate(&mut self, token: &str) -> Result<(), End> {
        let entered = match self.access.sign_in(token).await {
            Ok(()) => self.pass_place(),
            Err(error) => Err(error),
        };
        match entered {
            Ok(()) => self.tell(&json!({ "type": "authenticated" })).await,
            Err(error) => self.refuse(error).await,
        }
    }

    /// Counts the connection in the name of whoever asks.
    fn pass_place(&mut self) -> ApiResult<()> {
        let who = self.access.who();
        self.place = match self.place.take() {
            Some(place) => Some(place.pass_to(&who)?),
            None => Some(self.state.live.take(&who)?),
        };
        Ok(())
    }

    /// Tells why the client may not go on, which ends the connection in any case.
    pub async fn refuse(&mut self, error: ApiError) -> Result<(), End> {
        self.tell(&message::error(&error, None)).await?;
        // What may succeed later is told apart from what will not.
        let later = error.retry_after.or(error.code.retry_after()).is_some();
        let code = if later { CloseCode::Again } else { CloseCode::Policy };
        Err(End::with(code, if later { "try again later" } else { "not allowed" }))
    }

    /// Sends a message.
    pub async fn tell(&mut self, message: &Value) -> Result<(), End> {
        taken(self.session.text(message.to_string())).await
    }

    /// Asks for a sign of life.
    pub async fn ping(&mut self) -> Result<(), End> {
        taken(self.session.ping(b"")).await
    }

    /// Gives one.
    pub async fn pong(&mut self, bytes: &[u8]) -> Result<(), End> {
        taken(self.session.pong(bytes)).await
    }

    /// Says why it ends, to a client that is still there.
    pub async fn close(self, end: &End) {
        if let Some((code, reason)) = end.close {
            // A client that takes no more loses the reason.
            let reason = CloseReason { code, description: Some(reason.to_owned()) };
            let _ = taken(self.session.close(Some(reason))).await;
        }
    }
}

/// Waits for a client to take what is sent, but not for ever.
async fn taken(sent: impl Future<Output = Result<(), Closed>>) -> Result<(), End> {
    match timeout(SEND, sent).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Closed)) | Err(_) => Err(End::GONE),
    }
}

/// What cannot be read ends the connection: where the next message begins is not known.
pub fn broken(error: &ProtocolError) -> End {
    match error {
        ProtocolError::Overflow => End::with(CloseCode::Size, "the message is larger than hello allows"),
        _ => End::with(CloseCode::Protocol, "the message cannot be read"),
    }
}
