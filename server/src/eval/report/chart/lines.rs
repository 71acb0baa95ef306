//! Lines over two axes.

use std::fmt::Write;

use super::{Axis, Chart, HEIGHT, MARGIN, color, frame};
use crate::eval::report::html::escaped;

/// Points closer than this to the last one drawn add nothing that can be seen.
const NEAR: f64 = 0.4;

/// Axes, grid and lines.
pub(super) fn draw(chart: &Chart, diagonal: bool, dots: bool) -> String {
    let [left, top, right, bottom] = frame();
    let x = |v: f64| left + chart.x.place(v) * (right - left);
    let y = |v: f64| bottom - chart.y.place(v) * (bottom - top);
    let mut out = String::new();
    for (value, text) in chart.x.ticks() {
        let at = x(value);
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {top}V{bottom}\" stroke=\"#e6e8eb\"/><text x=\"{at:.1}\" y=\"{}\" \
             text-anchor=\"middle\">{text}</text>",
            bottom + 15.0
        );
    }
    out += &vertical(&chart.y);
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(left, right),
        HEIGHT - MARGIN[3] + 32.0,
        escaped(&chart.x.label)
    );
    if diagonal {
        let _ = writeln!(
            out,
            "<path d=\"M{left} {bottom}L{right} {top}\" stroke=\"#999\" stroke-dasharray=\"4 4\" fill=\"none\"/>"
        );
    }
    for (i, series) in chart.series.iter().enumerate() {
        let mut points = String::new();
        let mut last: Option<(f64, f64)> = None;
        for (n, &(px, py)) in series.points.iter().enumerate() {
            let at = (x(px), y(py));
            let near = last.is_some_and(|l| (l.0 - at.0).abs() < NEAR && (l.1 - at.1).abs() < NEAR);
            if near && n + 1 < series.points.len() {
                continue;
            }
            let _ = write!(points, "{:.1},{:.1} ", at.0, at.1);
            last = Some(at);
            if dots {
                let _ = writeln!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{}\"/>", at.0, at.1, color(i));
            }
        }
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\"/>",
            points.trim_end(),
            color(i)
        );
    }
    out
}

/// The axis on the left with its grid.
pub(super) fn vertical(axis: &Axis) -> String {
    let [left, top, right, bottom] = frame();
    let mut out = String::new();
    for (value, text) in axis.ticks() {
        let at = bottom - axis.place(value) * (bottom - top);
        let _ = writeln!(
            out,
            "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#e6e8eb\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{text}</text>",
            left - 6.0,
            at + 4.0
        );
    }
    let middle = f64::midpoint(top, bottom);
    let _ = writeln!(
        out,
        "<text x=\"14\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle})\">{}</text>\
         <path d=\"M{left} {top}V{bottom}H{right}\" stroke=\"#666\" fill=\"none\"/>",
        escaped(&axis.label)
    );
    out
}
