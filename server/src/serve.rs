//! `facesocial serve`.

pub use crate::config::ServeArgs;
use crate::{config::Config, startup::Application};

/// Serves until the process is told to stop.
///
/// # Errors
/// Options that contradict each other, an address that is taken, networks that cannot be loaded.
pub async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    Application::build(Config::try_from(args)?)?.run_until_stopped().await
}
