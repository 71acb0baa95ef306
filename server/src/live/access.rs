//! Who asks over a live connection, and whether they still may.
//!
//! Programs show a token or key in the header of the handshake, as with every other request. Pages in a browser cannot set
//! headers there, so that they send it as the first text message. The address is no place for it: addresses are logged; nor
//! is `Sec-WebSocket-Protocol`, which proxies log too, and which would have to be repeated in the answer.

use std::time::Instant;

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap, HeaderName, HeaderValue},
    web,
};

use crate::{
    auth::{Analyze, Authorized, Identity, Permission, Principal, credentials, network},
    error::{ApiError, ApiResult, Code},
    middleware::rate::Limiter,
    state::State,
};

/// Who asks over one connection.
pub struct Access {
    req: HttpRequest,
    state: web::Data<State>,
    limiter: web::Data<Limiter>,
    /// The credentials alone.
    shown: HeaderMap,
    /// Nobody until somebody was found to have the permission.
    principal: Option<Principal>,
    /// When that was last looked up.
    pub checked: Instant,
}

impl Access {
    /// Nobody yet.
    ///
    /// # Errors
    /// The app has no limits, which is a fault of ours.
    pub fn new(req: &HttpRequest, state: &web::Data<State>) -> ApiResult<Self> {
        let limiter = req.app_data::<web::Data<Limiter>>().cloned();
        let limiter = limiter.ok_or_else(|| ApiError::internal(&std::io::Error::other("the app has no limits")))?;
        let mut shown = HeaderMap::new();
        for name in [header::AUTHORIZATION, HeaderName::from_static("x-api-key")] {
            for value in req.headers().get_all(&name) {
                shown.append(name.clone(), value.clone());
            }
        }
        Ok(Self { req: req.clone(), state: state.clone(), limiter, shown, principal: None, checked: Instant::now() })
    }

    /// Whether it can be known already who asks: from a header, or because nobody needs to.
    pub fn is_shown(&self) -> bool {
        !self.state.auth.enabled || credentials::present(&self.shown)
    }

    /// Takes whom the request's headers name.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`], or [`Code::Forbidden`] without the permission to analyse.
    pub async fn enter(&mut self) -> ApiResult<()> {
        self.principal = Some(self.require::<Analyze>().await?);
        Ok(())
    }

    /// Takes whom a token or key names that came in a message.
    ///
    /// # Errors
    /// As [`Self::enter`]; [`Code::RateLimited`] after too many; [`Code::StoreUnavailable`]. Nobody is in then.
    pub async fn sign_in(&mut self, token: &str) -> ApiResult<()> {
        self.principal = None;
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| ApiError::new(Code::Unauthenticated, "the token has characters that no token or key has"))?;
        value.set_sensitive(true);
        self.shown = HeaderMap::new();
        self.shown.insert(header::AUTHORIZATION, value);
        if self.state.auth.enabled {
            let cache = self.state.cache().as_ref();
            within(self.limiter.count_guess(cache, &self.network()).await)?;
        }
        self.recheck().await?;
        let cache = self.state.cache().as_ref();
        let counted = within(self.limiter.count(cache, &self.who(), false).await);
        if counted.is_err() {
            self.principal = None;
        }
        counted
    }

    /// Looks up again who asks: logins end, keys expire, accounts change while a connection lasts.
    ///
    /// # Errors
    /// As [`Self::sign_in`]. Nobody is in then.
    pub async fn recheck(&mut self) -> ApiResult<()> {
        self.checked = Instant::now();
        self.principal = None;
        let address = self.req.extensions().get::<Identity>().and_then(|identity| identity.address);
        let principal = credentials::identify(&self.state, &self.shown, address).await;
        self.req.extensions_mut().insert(Identity { principal, address });
        self.enter().await
    }

    /// Whom the connection is for.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] while that is not known.
    pub fn principal(&self) -> ApiResult<&Principal> {
        self.principal.as_ref().ok_or_else(unauthenticated)
    }

    /// Demands a permission; a refusal is audited.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`], [`Code::Forbidden`].
    pub async fn require<P: Permission>(&self) -> ApiResult<Principal> {
        Ok(Authorized::<P>::from_request(&self.req, &mut Payload::None).await?.principal)
    }

    /// In whose name connections are counted: an account, a key, or an address without either.
    pub fn who(&self) -> String {
        let named = self.principal.as_ref().and_then(credentials::counter);
        named.unwrap_or_else(|| format!("address:{}", self.network()))
    }

    fn network(&self) -> String {
        let address = self.req.extensions().get::<Identity>().and_then(|identity| identity.address);
        address.map_or_else(|| "unknown".to_owned(), network)
    }
}

/// The refusal of whatever comes before it is known who asks.
pub fn unauthenticated() -> ApiError {
    let detail = "send {\"type\":\"auth\",\"token\":\"...\"} first, with an access token or an API key; or show it in a \
                  header of the handshake";
    ApiError::new(Code::Unauthenticated, detail)
}

fn within(left: Option<crate::middleware::rate::Left>) -> ApiResult<()> {
    match left.and_then(|left| left.exceeded()) {
        None => Ok(()),
        Some(seconds) => {
            let detail = format!("too many requests; try again in {seconds} seconds");
            Err(ApiError::new(Code::RateLimited, detail).after(seconds))
        }
    }
}
