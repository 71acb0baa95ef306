//! The card that tests run on, if there is one.

use std::panic::catch_unwind;

use candle::Device;
use facesocial_testkit::not_run;

/// The first card.
pub fn card(what: &str) -> Option<Device> {
    // Without a driver, CUDA's loader panics.
    let opened = catch_unwind(|| facesocial_cuda::open(0)).map_err(|_| "no CUDA driver".to_owned());
    match opened.and_then(|device| device.map_err(|e| e.to_string())) {
        Ok(device) => Some(device),
        Err(reason) => {
            let remedy = "Run on a machine with a card: cargo test -p facesocial-cuda --features cuda";
            not_run(&format!("{what} ({reason})"), remedy);
            None
        }
    }
}
