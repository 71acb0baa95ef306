//! Lines over minutes, as an SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 60.0;
const COLOURS: [&str; 3] = ["#1f6feb", "#d1242f", "#1a7f37"];

/// A diagram.
pub struct Panel {
    /// What it shows.
    pub title: &'static str,
    /// Points of each line: minute and value.
    pub lines: Vec<Vec<(f64, f64)>>,
}

/// The diagrams, one below the other, each from zero.
pub fn draw(panels: &[Panel]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        HEIGHT * panels.len() as f64
    );
    for (n, panel) in panels.iter().enumerate() {
        one(&mut svg, panel, HEIGHT * n as f64);
    }
    svg.push_str("</svg>\n");
    svg
}

fn one(svg: &mut String, Panel { title, lines }: &Panel, top: f64) {
    let points = || lines.iter().flatten();
    let minutes = points().map(|p| p.0).fold(1.0, f64::max);
    let most = points().map(|p| p.1).fold(1e-9, f64::max) * 1.05;
    let (bottom, high) = (top + HEIGHT - 25.0, HEIGHT - 55.0);
    let x = |minute: f64| LEFT + (WIDTH - LEFT - 20.0) * minute.max(0.0) / minutes;
    let y = |value: f64| bottom - high * value / most;
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\">{title}</text>", top + 20.0);
    for part in 0..=4 {
        let value = most * f64::from(part) / 4.0;
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{y:.1}\" \
             text-anchor=\"end\">{value:.0}</text>",
            WIDTH - 20.0,
            LEFT - 6.0,
            y = y(value),
        );
    }
    for part in 0..=6 {
        let minute = minutes * f64::from(part) / 6.0;
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{}\">{minute:.0} min</text>", x(minute) - 12.0, bottom + 16.0);
    }
    for (line, colour) in lines.iter().zip(COLOURS) {
        let points: Vec<String> = line.iter().map(|(m, v)| format!("{:.1},{:.1}", x(*m), y(*v))).collect();
        let _ = writeln!(svg, "<polyline fill=\"none\" stroke=\"{colour}\" points=\"{}\"/>", points.join(" "));
    }
}
