//! Bars in groups over one axis.

use std::fmt::Write;

use super::{Chart, color, frame, lines::vertical};
use crate::eval::report::html::escaped;

/// Part of a group's width that its bars fill.
const FILLED: f64 = 0.75;

/// Axis, bars, names of the groups.
pub(super) fn draw(chart: &Chart, groups: &[String]) -> String {
    let [left, top, right, bottom] = frame();
    let each = (right - left) / groups.len().max(1) as f64;
    let bar = each * FILLED / chart.series.len().max(1) as f64;
    let mut out = vertical(&chart.y);
    for (i, series) in chart.series.iter().enumerate() {
        for (group, (_, value)) in series.points.iter().enumerate() {
            let height = chart.y.place(*value) * (bottom - top);
            let x = left + each * (group as f64 + (1.0 - FILLED) / 2.0) + bar * i as f64;
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{bar:.1}\" height=\"{height:.1}\" fill=\"{}\"/>",
                bottom - height,
                color(i)
            );
        }
    }
    for (group, name) in groups.iter().enumerate() {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            left + each * (group as f64 + 0.5),
            bottom + 15.0,
            escaped(name)
        );
    }
    out
}
