//! A [`Page`] as HTML: style, charts and pictures within, no script, nothing fetched.

use std::fmt::Write;

use super::{Block, Page, chart};
use crate::cli::table::TextTable;

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1c1f23;background:#fff}\
h1{font-size:1.3rem}p{max-width:50rem}\
table{border-collapse:collapse;margin:.3rem 0 1.2rem;font-variant-numeric:tabular-nums}\
caption{text-align:left;color:#555;padding:.2rem 0}th,td{padding:.15rem .7rem;text-align:left;border-bottom:1px solid #e3e5e8}\
th{font-weight:600}td.n{text-align:right}\
.row{display:flex;flex-wrap:wrap;gap:1.2rem;margin:1rem 0}\
h2{font-size:1.05rem;margin:1.4rem 0 .4rem}\
figure{margin:0;font-size:12px;color:#555;max-width:22rem}figure img{display:inline-block;height:112px;margin-right:2px}";

/// The whole document.
pub(super) fn document(page: &Page) -> String {
    let title = escaped(&page.title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\n\
         <body>\n<h1>{title}</h1>\n"
    );
    for block in &page.blocks {
        match block {
            Block::Text(text) => {
                let _ = writeln!(out, "<p>{}</p>", escaped(text));
            }
            Block::Table { caption, table } => out += &html_table(caption.as_deref(), table),
            Block::Charts(charts) => {
                out += "<div class=\"row\">\n";
                charts.iter().for_each(|c| out += &chart::svg(c));
                out += "</div>\n";
            }
            Block::Pictures { caption, pictures } => {
                let _ = writeln!(out, "<h2>{}</h2>\n<div class=\"row\">", escaped(caption));
                for picture in pictures {
                    out += "<figure>";
                    for source in &picture.sources {
                        let _ = write!(out, "<img alt=\"\" src=\"{source}\">");
                    }
                    let _ = writeln!(out, "<figcaption>{}</figcaption></figure>", escaped(&picture.caption));
                }
                out += "</div>\n";
            }
        }
    }
    out + "</body></html>\n"
}

fn html_table(caption: Option<&str>, table: &TextTable) -> String {
    let mut out = "<table>".to_owned();
    if let Some(caption) = caption {
        let _ = write!(out, "<caption>{}</caption>", escaped(caption));
    }
    out += "<tr>";
    for cell in table.head() {
        let _ = write!(out, "<th>{}</th>", escaped(cell));
    }
    out += "</tr>\n";
    for row in table.rows() {
        out += "<tr>";
        for cell in row {
            let class = if cell.parse::<f64>().is_ok() { " class=\"n\"" } else { "" };
            let _ = write!(out, "<td{class}>{}</td>", escaped(cell));
        }
        out += "</tr>\n";
    }
    out + "</table>\n"
}

/// Text that can stand between tags and in attributes: names of files and groups come from whoever made the set.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            chart::{Axis, Chart, Series},
            pictures::Picture,
        },
        *,
    };

    #[test]
    fn nothing_is_fetched_and_names_are_text() {
        let mut page = Page::new("set <script>".to_owned());
        let mut table = TextTable::new(["group", "rate"]);
        table.row(["a & \"b\"", "0.25"]);
        page.table(table);
        let series = vec![Series { name: "<x>".to_owned(), points: vec![(0.0, 0.0), (1.0, 1.0)] }];
        page.charts(vec![Chart::lines("t", Axis::share("x"), Axis::share("y"), series)]);
        page.pictures(
            "worst",
            vec![Picture { sources: vec!["data:image/jpeg;base64,AA".into()], caption: "<i>".into() }],
        );
        let html = document(&page);
        assert!(!html.contains("<script") && !html.contains("<x>") && !html.contains("<i>"), "{html}");
        assert!(html.contains("<td>a &amp; &quot;b&quot;</td><td class=\"n\">0.25</td>"), "{html}");
        for outside in ["src=\"http", "href", "url(", "@import"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }
}
