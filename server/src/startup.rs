//! From a configuration to a running server, and back.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    body::MessageBody,
    dev::{ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse},
    http::header,
    middleware::{Condition, from_fn},
    web,
};
use anyhow::Context;
use facesocial_store::StoreError;
use facesocial_types::Service;
use facesocial_upstream::Upstreams;
use futures_util::future::{join_all, try_join_all};
use serde_json::json;
use tokio::sync::Notify;

use crate::{
    api,
    auth::{internal_credentials, tokens},
    config::{Audience, Config, Role},
    console,
    error::{ApiError, ApiResult, Code},
    gateway, internal,
    jobs::Upkeep,
    metrics,
    middleware::{access, cors, envelope, rate::Limiter},
    recorder,
    routing::get,
    services,
    state::{Loaded, State},
    tls::Certificate,
    usage,
};

/// Threads per listener. They parse and wait; decoding and inference run on the compute pool.
const WORKERS: usize = 1;
/// Bytes that the cache of this process holds at most, where there is no Redis.
const CACHE_BYTES: usize = 64 << 20;
/// Time between attempts to reach the database.
const RETRY: Duration = Duration::from_secs(2);
/// Least time for closing the database, however long requests took to finish.
const CLOSING: Duration = Duration::from_secs(2);
/// Where the secret for tokens is kept unless one is given.
const JWT_SECRET: &str = "secret.jwt";

/// A server whose listeners are bound.
pub struct Application {
    config: Config,
    listeners: Vec<(Role, TcpListener)>,
    addresses: Vec<(Role, SocketAddr)>,
    /// Where the figures are open.
    metrics: Option<TcpListener>,
    certificate: Option<Arc<Certificate>>,
    state: web::Data<State>,
    stop: Stopper,
}

/// Tells a running server to stop.
#[derive(Debug, Clone, Default)]
pub struct Stopper(Arc<Notify>);

impl Stopper {
    /// Stops the server: readiness off, requests under way finished, process free to end.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

impl Application {
    /// Binds all listeners; nothing is answered yet.
    ///
    /// # Errors
    /// An address that is taken or not this machine's; no authentication on an address that others reach; an address of
    /// Redis that is none.
    pub fn build(config: Config) -> anyhow::Result<Self> {
        check_access(&config)?;
        config.networks.engine.start_pool();
        let redis = config.access.redis_url.as_ref().map(|url| url.expose());
        let cache = facesocial_cache::open(redis, CACHE_BYTES).context("cannot use REDIS_URL")?;
        let mut listeners = Vec::with_capacity(config.listeners.len());
        for (role, address) in &config.listeners {
            let listener = TcpListener::bind(address).with_context(|| {
                format!("{role} cannot listen on {address}; choose another address with --listen {role}=HOST:PORT")
            })?;
            if config.tls.is_none() && !address.ip().is_loopback() {
                tracing::warn!(
                    service = %role, %address,
                    "open to the network without TLS; give --tls-cert and --tls-key, or put a proxy with TLS in front"
                );
            }
            listeners.push((*role, listener));
        }
        let addresses = listeners.iter().map(|(role, l)| Ok((*role, l.local_addr()?))).collect::<io::Result<_>>()?;
        let metrics = config.observe.metrics_listen.map(bind_metrics).transpose()?;
        let certificate = config.tls.clone().map(Certificate::read).transpose()?.map(Arc::new);
        let state = web::Data::new(with_upstreams(State::new(&config, cache), &config)?);
        Ok(Self { config, listeners, addresses, metrics, certificate, state, stop: Stopper::default() })
    }

    /// Who listens where; the ports that the system chose where port 0 was asked for.
    pub fn addresses(&self) -> &[(Role, SocketAddr)] {
        &self.addresses
    }

    /// Where the figures are open; `None` if nowhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr().ok()
    }

    /// Stops the server from another task.
    pub fn stopper(&self) -> Stopper {
        self.stop.clone()
    }

    /// Answers requests until the process is told to stop, then lets those under way finish. While the networks are
    /// loaded, probes are answered and everything else is 503; likewise what needs the database until that is reached.
    ///
    /// # Errors
    /// The networks cannot be loaded or run; the database is damaged, in use by another server or of another version; the
    /// system refuses a listener.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        let Self { config, listeners, addresses, metrics, certificate, state, stop } = self;
        state.runtimes.note();
        let mut servers = listeners
            .into_iter()
            .map(|(role, listener)| server(role, listener, &config, certificate.as_ref(), state.clone()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        if let Some(listener) = metrics {
            tracing::info!(service = "metrics", address = %listener.local_addr()?, "listening");
            servers.push(metrics_server(listener, state.clone())?);
        }
        let handles: Vec<ServerHandle> = servers.iter().map(actix_web::dev::Server::handle).collect();
        for (role, address) in addresses {
            tracing::info!(service = %role, %address, "listening");
        }
        // Without a database there is nothing to keep.
        let has_store = config.distributed.audience != Audience::Servers;
        let upkeep = has_store.then(|| Upkeep::start(&state, &config.upkeep));
        let running = try_join_all(servers);
        tokio::pin!(running);
        // What is driven here alone ends with the block: left standing in the middle of a write, it would keep a connection that
        // the store waits for when it is closed.
        let outcome = {
            let renewing = async {
                if let Some(certificate) = &certificate {
                    certificate.renew().await;
                }
            };
            let recording = futures_util::future::join3(usage::keep(&state), recorder::keep(&state), renewing);
            tokio::pin!(recording);
            let opening = async { if has_store { open(&config, &state).await } else { Ok(()) } };
            let starting = async { tokio::try_join!(load(config.clone(), state.clone()), opening) };
            tokio::pin!(starting);
            let mut loaded = false;
            loop {
                tokio::select! {
                    ended = &mut running => return Ok(ended.map(drop)?),
                    started = &mut starting, if !loaded => match started {
                        Ok(_) => { loaded = true; tracing::info!("ready") }
                        Err(error) => break Err(error),
                    },
                    _ = &mut recording => {}
                    () = stop.0.notified() => break Ok(()),
                    signal = signal() => { tracing::info!(signal = signal?, "stopping"); break Ok(()) }
                }
            }
        };
        state.set_stopping();
        let until = tokio::time::Instant::now() + config.shutdown_timeout;
        // The servers must be driven while they drain.
        let stopping = join_all(handles.iter().map(|handle| handle.stop(outcome.is_ok())));
        let (_, ended) = futures_util::future::join(stopping, running).await;
        let closing = async {
            if let Some(upkeep) = upkeep {
                upkeep.stop().await;
            }
            if let Ok(store) = state.store() {
                usage::flush(&state).await;
                recorder::flush(&state).await;
                store.close().await;
            }
        };
        if tokio::time::timeout_at(until.max(tokio::time::Instant::now() + CLOSING), closing).await.is_err() {
            tracing::warn!("the database does not answer; statistics of the last minute are not written");
        }
        ended?;
        outcome
    }
}

/// The state with the servers that run services for this one.
fn with_upstreams(state: State, config: &Config) -> anyhow::Result<State> {
    let origins = &config.distributed.upstreams;
    if origins.is_empty() {
        return Ok(state);
    }
    let tokens = state.internal.as_ref().context("other servers are asked only with an internal secret")?;
    for (service, origins) in origins {
        let servers: Vec<String> = origins.iter().map(ToString::to_string).collect();
        tracing::info!(%service, servers = servers.join(", "), "run by other servers");
        if origins.iter().any(|origin| !origin.https && !origin.ip.is_some_and(|ip| ip.is_loopback())) {
            tracing::warn!(%service, "photos go to its servers without TLS; keep them on a network of their own");
        }
    }
    let upstreams = Upstreams::start(origins.clone(), &internal_credentials(Arc::clone(tokens)))?;
    Ok(state.with_upstreams(upstreams))
}

/// Loads the networks and runs each once, away from the threads that answer.
async fn load(config: Config, state: web::Data<State>) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    let remotes = state.upstreams().map(Upstreams::remotes).unwrap_or_default();
    let load = move || -> anyhow::Result<Loaded> {
        let on_demand = config.on_demand();
        let mut options = config.networks.options(config.services)?;
        options.on_demand = on_demand;
        options.remotes = remotes;
        options.settings = config.memory.bound(options.settings);
        Ok(Loaded::load(&options)?)
    };
    let loaded = tokio::task::spawn_blocking(load).await.context("loading the networks panicked")??;
    state.set_loaded(loaded);
    tracing::info!(duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX), "networks loaded");
    Ok(())
}

/// Refuses to run without authentication where others could reach it.
fn check_access(config: &Config) -> anyhow::Result<()> {
    if config.access.auth {
        return Ok(());
    }
    if let Some((role, address)) = config.listeners.iter().find(|(_, address)| !address.ip().is_loopback()) {
        anyhow::bail!(
            "--auth off is allowed only while every listener is on loopback, and {role} listens on {address}; leave \
             authentication on, or listen on 127.0.0.1"
        );
    }
    tracing::warn!("authentication is off: whoever runs a program on this machine may do everything");
    Ok(())
}

/// Opens the store, and what is kept in it of access; again and again while the database does not answer.
async fn open(config: &Config, state: &State) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    let mut told = false;
    loop {
        match try_open(config, state).await {
            Ok(()) => break,
            // The embedded database is files: what keeps them closed now does so later.
            Err(StoreError::Unavailable { reason, .. }) if config.store.database_url.is_some() => {
                if !told {
                    tracing::warn!(reason, "the database does not answer; trying again until it does");
                    told = true;
                }
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(anyhow::Error::new(error).context("cannot open the database")),
        }
    }
    tracing::info!(duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX), "database open");
    Ok(())
}

async fn try_open(config: &Config, state: &State) -> Result<(), StoreError> {
    let store = facesocial_store::open(&config.store.options()).await?;
    if config.access.auth {
        // Without random numbers there is nothing to begin with; the next attempt may have some.
        let no_luck = |error: ApiError| StoreError::Unavailable { reason: error.detail.into_owned(), source: None };
        match &config.access.jwt_secret {
            Some(secret) => state.auth.set_secret(secret.expose()),
            None => {
                let made = tokens::random().map_err(no_luck)?;
                state.auth.set_secret(&store.config_or_insert(JWT_SECRET, &made).await?);
            }
        }
        if store.count_users().await? == 0 {
            state.auth.begin_setup().map_err(no_luck)?;
        }
    }
    state.set_store(store);
    Ok(())
}

fn server(
    role: Role,
    listener: TcpListener,
    config: &Config,
    certificate: Option<&Arc<Certificate>>,
    state: web::Data<State>,
) -> anyhow::Result<actix_web::dev::Server> {
    let limiter = web::Data::new(Limiter::new(&config.access));
    let origins = config.access.cors_origins.clone();
    let audience = config.distributed.audience;
    let app = move || {
        // The thread that makes the app answers with it, in a runtime of its own.
        state.runtimes.note();
        app(role, state.clone(), limiter.clone(), &origins, audience)
    };
    let server = HttpServer::new(app)
        .workers(WORKERS)
        .disable_signals()
        // Whoever closes its half of the connection waits for no answer: its place in the line goes to somebody else.
        .h1_allow_half_closed(false)
        .shutdown_timeout(config.shutdown_timeout.as_secs());
    let server = match certificate {
        Some(certificate) => server.listen_rustls_0_23(listener, certificate.config()?)?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}

/// All that stands behind the HTTP parser of the listener for `role`. `limiter` is one for all listeners.
pub fn app(
    role: Role,
    state: web::Data<State>,
    limiter: web::Data<Limiter>,
    origins: &[String],
    audience: Audience,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = actix_web::Error,
        InitError = (),
    > + use<>,
> {
    App::new()
        .app_data(state.clone())
        .app_data(limiter)
        .app_data(role)
        // The last one sees a request first.
        .wrap(from_fn(access::check))
        .wrap(Condition::new(!origins.is_empty(), cors::allow(origins)))
        .wrap(from_fn(envelope))
        .configure(|cfg| routes(role, &state.services, audience, state.pages, cfg))
        .default_service(web::to(not_found))
}

/// Binds the address on which the figures are open.
fn bind_metrics(address: SocketAddr) -> anyhow::Result<TcpListener> {
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "the figures are open to whoever reaches this address; 127.0.0.1 keeps them on this machine, --metrics-token-file \
             guards them on the other listeners"
        );
    }
    TcpListener::bind(address).with_context(|| {
        format!("metrics cannot listen on {address}; choose another address with --metrics-listen HOST:PORT")
    })
}

/// Answers the figures, and nothing else.
fn metrics_server(listener: TcpListener, state: web::Data<State>) -> io::Result<actix_web::dev::Server> {
    // A page that somebody looks at must not read them under a name of its own that leads here.
    let local = listener.local_addr()?.ip().is_loopback();
    let app = move || {
        App::new()
            .app_data(state.clone())
            .wrap(from_fn(envelope))
            .service(get("/healthz", healthz))
            .service(get(metrics::access::PATH, move |req: HttpRequest, state: web::Data<State>| async move {
                let host = req.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
                if local && host.is_some_and(|host| !access::is_here(host)) {
                    let detail = "the figures are answered under localhost or an address alone";
                    return Err(ApiError::new(Code::Forbidden, detail));
                }
                metrics::api::open(state).await
            }))
            .default_service(web::to(|| async {
                Err::<HttpResponse, _>(ApiError::new(
                    Code::NotFound,
                    "this address answers /metrics and /healthz alone",
                ))
            }))
    };
    let server = HttpServer::new(app).workers(WORKERS).disable_signals().shutdown_timeout(1).listen(listener)?;
    Ok(server.run())
}

/// Everything that the listener for `role` answers to this audience; the gateway with its pages for browsers if `pages`.
pub fn routes(role: Role, enabled: &[Service], audience: Audience, pages: bool, cfg: &mut web::ServiceConfig) {
    cfg.service(get("/healthz", healthz)).service(get("/readyz", readyz));
    cfg.service(get(metrics::access::PATH, metrics::api::metrics));
    if audience != Audience::Clients && matches!(role, Role::Service(_)) {
        internal::configure(cfg);
    }
    if audience == Audience::Servers {
        return;
    }
    match role {
        Role::Gateway => {
            gateway::configure(enabled, cfg);
            if pages {
                console::configure(cfg);
            }
        }
        Role::Service(service) => services::configure(service, cfg),
    }
    // After the gateway's own paths, some of which begin in the same way.
    if matches!(role, Role::Gateway | Role::Service(Service::Recognition)) {
        api::configure(cfg);
    }
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

async fn readyz(state: web::Data<State>) -> ApiResult<HttpResponse> {
    state.answers()?;
    Ok(HttpResponse::Ok().json(json!({ "status": "ready" })))
}

async fn not_found() -> ApiResult<HttpResponse> {
    Err(ApiError::new(Code::NotFound, "nothing is served under this path; GET / lists what is"))
}

/// Waits until the process is asked to stop; gives the signal's name.
#[cfg(unix)]
async fn signal() -> io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// Waits until the process is asked to stop; gives the signal's name.
#[cfg(not(unix))]
async fn signal() -> io::Result<&'static str> {
    tokio::signal::ctrl_c().await.map(|()| "Ctrl-C")
}
