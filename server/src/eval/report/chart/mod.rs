//! Charts as SVG, drawn by hand: lines and bars over two axes. They need no script and scale with the page.

mod axis;
mod bars;
mod lines;

pub use axis::Axis;

/// A named set of points.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// As the legend tells it.
    pub name: String,
    /// In the order they are joined; of bars x is left out of account.
    pub points: Vec<(f64, f64)>,
}

/// One chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    title: String,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// `diagonal`: a line from corner to corner to compare with; `dots`: every point is marked.
    Lines { diagonal: bool, dots: bool },
    /// One group of bars for each name.
    Bars { groups: Vec<String> },
}

impl Chart {
    /// Points joined by straight lines.
    pub fn lines(title: impl Into<String>, x: Axis, y: Axis, series: Vec<Series>) -> Self {
        let kind = Kind::Lines { diagonal: false, dots: false };
        Self { title: title.into(), x, y, series, kind }
    }

    /// Marked points against the line where both coordinates are equal.
    pub fn against_diagonal(title: impl Into<String>, x: Axis, y: Axis, series: Vec<Series>) -> Self {
        let kind = Kind::Lines { diagonal: true, dots: true };
        Self { title: title.into(), x, y, series, kind }
    }

    /// Bars from 0 on: for each of `groups` one of every series, whose values are in the order of the groups.
    pub fn bars(title: impl Into<String>, y: &str, groups: Vec<String>, series: Vec<(String, Vec<f64>)>) -> Self {
        let highest = series.iter().flat_map(|s| &s.1).copied().fold(0.0, f64::max);
        let series = series.into_iter().map(|(name, values)| Series {
            name,
            points: values.into_iter().enumerate().map(|(i, v)| (i as f64, v)).collect(),
        });
        let (x, y) = (Axis::linear("", 0.0, groups.len() as f64), Axis::linear(y, 0.0, highest));
        Self { title: title.into(), x, y, series: series.collect(), kind: Kind::Bars { groups } }
    }

    /// How the scores of each class are spread: shares of the class in bins of equal width between the lowest and the highest.
    pub fn histogram(title: impl Into<String>, x: &str, classes: Vec<(String, Vec<f64>)>) -> Self {
        /// Bins that can be told apart at the size of a chart.
        const BINS: usize = 40;
        let all = || classes.iter().flat_map(|c| &c.1).copied();
        let (low, high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = match low {
            low if low < high => (low, high),
            // All scores are the same, or there are none.
            low if low.is_finite() => (low - 0.5, low + 0.5),
            _ => (0.0, 1.0),
        };
        let width = (high - low) / BINS as f64;
        let mut highest = 0.0_f64;
        let series = classes.into_iter().map(|(name, scores)| {
            let mut counts = [0_usize; BINS];
            scores.iter().for_each(|s| counts[(((s - low) / width) as usize).min(BINS - 1)] += 1);
            // Drawn as steps: both corners of each bin.
            let points = counts.iter().enumerate().flat_map(|(i, &count)| {
                let share = count as f64 / scores.len().max(1) as f64;
                highest = highest.max(share);
                [(low + i as f64 * width, share), (low + (i + 1) as f64 * width, share)]
            });
            Series { name, points: points.collect() }
        });
        let series: Vec<Series> = series.collect();
        let (x, y) = (Axis::linear(x, low, high), Axis::linear("share of the class", 0.0, highest));
        Self::lines(title, x, y, series)
    }
}

/// Size of a chart in its own units.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 340.0;
/// Room for labels: left, top, right, bottom.
const MARGIN: [f64; 4] = [58.0, 30.0, 16.0, 58.0];
/// Told apart by those who see fewer colours, too (Okabe and Ito).
const COLORS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#444"];

fn color(series: usize) -> &'static str {
    COLORS[series % COLORS.len()]
}

/// The area within the margins: left, top, right, bottom.
const fn frame() -> [f64; 4] {
    [MARGIN[0], MARGIN[1], WIDTH - MARGIN[2], HEIGHT - MARGIN[3]]
}

/// The chart as an `<svg>` element.
pub(super) fn svg(chart: &Chart) -> String {
    use super::html::escaped;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{WIDTH}\" height=\"{}\" \
         viewBox=\"0 0 {WIDTH} {}\" font-family=\"system-ui,sans-serif\" font-size=\"11\">\n\
         <title>{title}</title><text x=\"{}\" y=\"16\" font-size=\"13\" font-weight=\"600\">{title}</text>\n",
        height(chart),
        height(chart),
        MARGIN[0],
        title = escaped(&chart.title),
    );
    out += &match &chart.kind {
        Kind::Lines { diagonal, dots } => lines::draw(chart, *diagonal, *dots),
        Kind::Bars { groups } => bars::draw(chart, groups),
    };
    for (i, series) in chart.series.iter().enumerate() {
        let y = HEIGHT + 4.0 + 15.0 * i as f64;
        out += &format!(
            "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"4\" fill=\"{}\"/><text x=\"{}\" y=\"{y}\">{}</text>\n",
            MARGIN[0],
            y - 6.0,
            color(i),
            MARGIN[0] + 18.0,
            escaped(&series.name)
        );
    }
    out + "</svg>\n"
}

fn height(chart: &Chart) -> f64 {
    HEIGHT + 15.0 * chart.series.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_holds_every_score_once() {
        let classes = vec![("a".to_owned(), vec![0.0, 0.5, 1.0, 1.0]), ("b".to_owned(), vec![0.25])];
        let chart = Chart::histogram("h", "score", classes);
        for series in &chart.series {
            let sum: f64 = series.points.iter().step_by(2).map(|p| p.1).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
        assert_eq!(chart.series[0].points.last(), Some(&(1.0, 0.5)));
        // Constant scores have a chart, too.
        let constant = Chart::histogram("h", "score", vec![("a".to_owned(), vec![0.5; 3])]);
        assert!(constant.series[0].points.iter().any(|p| p.1 == 1.0));
    }

    #[test]
    fn every_series_is_drawn_and_told() {
        let series = |name: &str| Series { name: name.to_owned(), points: vec![(0.0, 0.1), (0.5, 0.6), (1.0, 0.9)] };
        let lines = svg(&Chart::lines("l", Axis::share("x"), Axis::share("y"), vec![series("one"), series("two")]));
        assert_eq!(lines.matches("<polyline").count(), 2);
        assert!(lines.contains(">one</text>") && lines.contains(">two</text>"), "{lines}");
        let bars = Chart::bars("b", "years", vec!["0".into(), "10".into()], vec![("mae".into(), vec![1.0, 2.0])]);
        // Two bars, and one rectangle of the legend.
        assert_eq!(svg(&bars).matches("<rect").count(), 3);
    }
}
