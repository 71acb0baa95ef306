//! What the commands on the database share.

use std::{future::Future, sync::Arc};

use anyhow::Context;
use facesocial_store::Store;

use crate::config::StoreArgs;

/// Runs `work` to its end.
///
/// # Errors
/// Those of `work`; the system gives no threads.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Runtime::new().context("cannot start the runtime")?.block_on(work)
}

/// Opens the database, brought up to date.
///
/// # Errors
/// A server holds it, it does not answer, it is damaged or of a newer version.
pub(super) async fn open(args: StoreArgs) -> anyhow::Result<Arc<dyn Store>> {
    facesocial_store::open(&args.config()?.options()).await.context("cannot open the database")
}
