//! Live video: `GET /api/v1/live` becomes a WebSocket, over which frames come and tracks go.
//!
//! 1. The server says `hello`. A client that showed no token in the handshake sends `{"type":"auth","token":"..."}`; no
//!    frame is taken before, and nothing larger than a short text is read.
//! 2. `{"type":"start",...}` begins; see `message.rs`. The server answers `started`.
//! 3. Each binary message is a frame: a JPEG, PNG or WebP file. `{"type":"frame","seq":N}` before it names it. At most one
//!    frame is worked on and one waits; a newer one takes the place of the waiting one, which is counted as dropped.
//!    Answers are `frame`, see `answer.rs`, or `error`, after which the connection goes on.
//! 4. `{"type":"stop"}` is answered by `stopped`, after the frame under way; then `start` may come again.
//!
//! Nothing is kept: no frame, no embedding, no history. Which analyses run on which frames is for
//! [`facesocial_pipeline::track::Schedule`] to say.

mod access;
mod answer;
mod connection;
mod message;
mod origin;
mod places;
mod run;
mod session;
mod slot;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    web,
};
use tracing::Instrument;

use self::{access::Access, connection::Connection};
pub use self::{answer::gender_age, places::Places};
use crate::{
    error::{ApiError, ApiResult, Code},
    extract::RequestInfo,
    middleware::rate::Limiter,
    routing::get,
    state::State,
};

/// Adds the path, under `/api/v1`.
pub fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(get("/live", live));
}

/// `GET /api/v1/live`.
async fn live(
    state: web::Data<State>,
    limiter: web::Data<Limiter>,
    info: RequestInfo,
    req: HttpRequest,
    payload: web::Payload,
) -> ApiResult<HttpResponse> {
    let mut access = Access::new(&req, &state)?;
    let upgrade = wants_websocket(&req);
    // Whoever shows a token is looked up now. Only a WebSocket gives the others a chance to show one later.
    if access.is_shown() || !upgrade {
        access.enter().await?;
    }
    if !upgrade {
        return Err(no_websocket("this path speaks WebSocket alone: connect to it with ws:// or wss://"));
    }
    origin::check(req.headers(), &limiter)?;
    state.ready()?;
    let place = state.live.take(&access.who())?;
    let (response, session, stream) = actix_ws::handle(&req, payload)
        .map_err(|_| no_websocket("the handshake is not that of WebSocket version 13 (RFC 6455)"))?;
    let span = tracing::info_span!("live", request_id = info.id);
    let connection = Connection { session, state, access, place: Some(place), request_id: info.id };
    actix_web::rt::spawn(session::run(connection, stream).instrument(span));
    Ok(response)
}

fn wants_websocket(req: &HttpRequest) -> bool {
    let upgrade = req.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    req.method() == Method::GET && upgrade.split(',').any(|p| p.trim().eq_ignore_ascii_case("websocket"))
}

fn no_websocket(detail: &'static str) -> ApiError {
    ApiError::new(Code::UpgradeRequired, detail)
}
