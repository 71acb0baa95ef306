//! The figures as a document and as tables.

use std::fmt::Write;

use serde::Serialize;

use super::{networks::NetworkFigures, photos::PhotoFigures};
use crate::cli::table::TextTable;

/// Everything that was timed.
#[derive(Debug, Serialize)]
pub(super) struct BenchReport {
    pub version: u32,
    pub program: &'static str,
    pub processor: Option<String>,
    pub device: &'static str,
    pub threads: usize,
    pub passes: usize,
    pub networks: Vec<NetworkFigures>,
    pub photos: Option<PhotoFigures>,
}

const MIB: f64 = 1024.0 * 1024.0;

impl BenchReport {
    /// The tables.
    pub fn text(&self) -> String {
        let processor = self.processor.as_deref().unwrap_or("processor unknown");
        let mut out = format!(
            "facesocial {} on {}, {} threads ({processor}), {} passes\n\n",
            self.program, self.device, self.threads, self.passes
        );
        let mib = |bytes: Option<usize>| bytes.map_or("-".to_owned(), |b| format!("{:.1}", b as f64 / MIB));
        let head = ["network", "batch", "p50 ms", "p99 ms", "items/s", "peak MiB", "weights MiB"];
        let mut table = TextTable::new(head);
        for network in &self.networks {
            for b in &network.batches {
                table.row([
                    network.network.clone(),
                    b.batch.to_string(),
                    format!("{:.2}", b.spread.p50_ms),
                    format!("{:.2}", b.spread.p99_ms),
                    format!("{:.1}", b.items_per_second),
                    mib(b.peak_bytes),
                    mib(network.weights_bytes),
                ]);
            }
        }
        out += &table.render();
        if let Some(p) = &self.photos {
            let _ = writeln!(
                out,
                "\n{} photos, {} faces: p50 {:.1} ms, p99 {:.1} ms, {:.2} photos/s one at a time, {:.2} with {} at once\n",
                p.photos,
                p.faces,
                p.spread.p50_ms,
                p.spread.p99_ms,
                p.photos_per_second,
                p.photos_per_second_at_once,
                p.at_once
            );
            let mut table = TextTable::new(["stage", "mean ms", "part of"]);
            for s in &p.stages {
                table.row([s.stage.to_owned(), format!("{:.2}", s.mean_ms), s.within.unwrap_or_default().to_owned()]);
            }
            out += &table.render();
        }
        out
    }
}
