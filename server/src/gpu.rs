//! What is told of graphics cards, in health reports and on the command line.

use facesocial_gpu::{Figures, Unavailable};
use serde_json::{Value, json};

/// Whether this build can run networks on an NVIDIA card.
pub const BUILT_FOR_CUDA: bool = cfg!(feature = "cuda");

/// Whether networks could run on a card: the build has the code, and a card answers.
pub fn usable() -> bool {
    BUILT_FOR_CUDA && facesocial_gpu::read().is_ok_and(|figures| figures.any_answers())
}

/// Memory of all cards that this process takes, MiB, where the driver tells.
pub fn process_memory_used_mb() -> Option<u64> {
    facesocial_gpu::read().ok()?.process_memory_used_mb()
}

/// The cards, or why there are none, as JSON.
pub fn report() -> Value {
    of(facesocial_gpu::read().as_deref())
}

/// As [`report`], of figures at hand.
pub fn of(figures: Result<&Figures, &Unavailable>) -> Value {
    match figures {
        Ok(Figures { driver, cuda, devices }) => json!({
            "available": true,
            "built_for_cuda": BUILT_FOR_CUDA,
            "driver": driver,
            "cuda": cuda,
            "devices": devices,
        }),
        Err(reason) => json!({
            "available": false,
            "built_for_cuda": BUILT_FOR_CUDA,
            "reason": reason.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use facesocial_gpu::Gpu;

    use super::*;

    #[test]
    fn cards_and_their_absence_are_told() {
        let gpu = Gpu { memory_used_mb: Some(1500), ..Gpu::default() };
        let figures = Figures { driver: Some("580.65.06".to_owned()), cuda: None, devices: vec![gpu] };
        let told = of(Ok(&figures));
        assert_eq!((&told["available"], &told["driver"]), (&json!(true), &json!("580.65.06")));
        assert_eq!(told["devices"][0]["memory_used_mb"], 1500);
        let told = of(Err(&Unavailable::NoDriver));
        assert_eq!(told["available"], false);
        assert!(told["reason"].as_str().is_some_and(|r| r.contains("install the driver")), "{told}");
    }
}
