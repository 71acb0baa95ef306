//! From a configuration to a running server, and back.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, middleware::from_fn, web};
use anyhow::Context;
use futures_util::future::{join_all, try_join_all};
use serde_json::json;
use tokio::sync::Notify;

use crate::{
    config::{Config, Role},
    error::{ApiError, ApiResult, Code},
    gateway,
    middleware::envelope,
    routing::get,
    services,
    state::{Loaded, State},
};

/// Threads per listener. They parse and wait; decoding and inference run on the compute pool.
const WORKERS: usize = 1;

/// A server whose listeners are bound.
pub struct Application {
    config: Config,
    listeners: Vec<(Role, TcpListener)>,
    addresses: Vec<(Role, SocketAddr)>,
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
    /// An address that is taken or not this machine's.
    pub fn build(config: Config) -> anyhow::Result<Self> {
        let mut listeners = Vec::with_capacity(config.listeners.len());
        for (role, address) in &config.listeners {
            let listener = TcpListener::bind(address).with_context(|| {
                format!("{role} cannot listen on {address}; choose another address with --listen {role}=HOST:PORT")
            })?;
            if !address.ip().is_loopback() {
                tracing::warn!(service = %role, %address, "open to the network without authentication");
            }
            listeners.push((*role, listener));
        }
        let addresses = listeners.iter().map(|(role, l)| Ok((*role, l.local_addr()?))).collect::<io::Result<_>>()?;
        let state = web::Data::new(State::new(&config));
        Ok(Self { config, listeners, addresses, state, stop: Stopper::default() })
    }

    /// Who listens where; the ports that the system chose where port 0 was asked for.
    pub fn addresses(&self) -> &[(Role, SocketAddr)] {
        &self.addresses
    }

    /// Stops the server from another task.
    pub fn stopper(&self) -> Stopper {
        self.stop.clone()
    }

    /// Answers requests until the process is told to stop, then lets those under way finish. While the networks are
    /// loaded, probes are answered and everything else is 503.
    ///
    /// # Errors
    /// The networks cannot be loaded or run; the system refuses a listener.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        let Self { config, listeners, addresses, state, stop } = self;
        let servers = listeners
            .into_iter()
            .map(|(role, listener)| server(role, listener, &config, state.clone()))
            .collect::<io::Result<Vec<_>>>()?;
        let handles: Vec<ServerHandle> = servers.iter().map(actix_web::dev::Server::handle).collect();
        for (role, address) in addresses {
            tracing::info!(service = %role, %address, "listening");
        }
        let running = try_join_all(servers);
        tokio::pin!(running);
        let starting = load(config, state.clone());
        tokio::pin!(starting);
        let mut outcome = Ok(());
        let mut loaded = false;
        loop {
            tokio::select! {
                ended = &mut running => return Ok(ended.map(drop)?),
                started = &mut starting, if !loaded => match started {
                    Ok(()) => loaded = true,
                    Err(error) => { outcome = Err(error); break }
                },
                () = stop.0.notified() => break,
                signal = signal() => { tracing::info!(signal = signal?, "stopping"); break }
            }
        }
        state.set_stopping();
        // The servers must be driven while they drain.
        let stopping = join_all(handles.iter().map(|handle| handle.stop(outcome.is_ok())));
        let (_, ended) = futures_util::future::join(stopping, running).await;
        ended?;
        outcome
    }
}

/// Loads the networks and runs each once, away from the threads that answer.
async fn load(config: Config, state: web::Data<State>) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    let load = move || -> anyhow::Result<Loaded> { Ok(Loaded::load(&config.networks.options(config.services)?)?) };
    let loaded = tokio::task::spawn_blocking(load).await.context("loading the networks panicked")??;
    state.set_loaded(loaded);
    tracing::info!(duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX), "ready");
    Ok(())
}

fn server(
    role: Role,
    listener: TcpListener,
    config: &Config,
    state: web::Data<State>,
) -> io::Result<actix_web::dev::Server> {
    let app = move || {
        let state = state.clone();
        App::new()
            .app_data(state.clone())
            .app_data(role)
            .wrap(from_fn(envelope))
            .service(get("/healthz", healthz))
            .service(get("/readyz", readyz))
            .configure(|cfg| match role {
                Role::Gateway => gateway::configure(&state.services, cfg),
                Role::Service(service) => services::configure(service, cfg),
            })
            .default_service(web::to(not_found))
    };
    let server = HttpServer::new(app)
        .workers(WORKERS)
        .disable_signals()
        // Whoever closes its half of the connection waits for no answer: its place in the line goes to somebody else.
        .h1_allow_half_closed(false)
        .shutdown_timeout(config.shutdown_timeout.as_secs())
        .listen(listener)?;
    Ok(server.run())
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

async fn readyz(state: web::Data<State>) -> ApiResult<HttpResponse> {
    state.ready()?;
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
