//! What a measurement says, once: written as text for a terminal and as one HTML file with charts and pictures.

pub mod chart;
mod html;
pub mod pictures;

use std::{fs, path::Path};

use anyhow::Context;

use self::{chart::Chart, pictures::Picture};
use crate::cli::table::TextTable;

/// A report from top to bottom.
#[derive(Debug, Default)]
pub struct Page {
    title: String,
    blocks: Vec<Block>,
}

#[derive(Debug)]
enum Block {
    Text(String),
    Table {
        caption: Option<String>,
        table: TextTable,
    },
    /// Charts side by side; the text has none.
    Charts(Vec<Chart>),
    /// A sheet of small pictures; the text has none.
    Pictures {
        caption: String,
        pictures: Vec<Picture>,
    },
}

impl Page {
    /// An empty page; `title` is its first line.
    pub fn new(title: String) -> Self {
        Self { title, blocks: Vec::new() }
    }

    /// Adds a sentence or several.
    pub fn text(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Text(text.into()));
    }

    /// Adds a table.
    pub fn table(&mut self, table: TextTable) {
        self.blocks.push(Block::Table { caption: None, table });
    }

    /// Adds a table under a line that says what it shows.
    pub fn captioned(&mut self, caption: impl Into<String>, table: TextTable) {
        self.blocks.push(Block::Table { caption: Some(caption.into()), table });
    }

    /// Adds charts side by side.
    pub fn charts(&mut self, charts: Vec<Chart>) {
        self.blocks.push(Block::Charts(charts));
    }

    /// Adds a sheet of pictures; none, nothing.
    pub fn pictures(&mut self, caption: impl Into<String>, pictures: Vec<Picture>) {
        if !pictures.is_empty() {
            self.blocks.push(Block::Pictures { caption: caption.into(), pictures });
        }
    }

    /// The page for a terminal: without charts and pictures.
    pub fn render(&self) -> String {
        let mut out = self.title.clone() + "\n";
        for block in &self.blocks {
            match block {
                Block::Text(text) => out += &format!("{text}\n"),
                Block::Table { caption, table } => {
                    out.push('\n');
                    if let Some(caption) = caption {
                        out += &format!("{caption}\n");
                    }
                    out += &table.render();
                    out.push('\n');
                }
                Block::Charts(_) | Block::Pictures { .. } => {}
            }
        }
        // Two tables after each other have one blank line between them, and the end has none.
        out.replace("\n\n\n", "\n\n").trim_end().to_owned() + "\n"
    }

    /// Writes the page as one HTML file that needs nothing else.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_html(&self, path: &Path) -> anyhow::Result<()> {
        fs::write(path, html::document(self)).with_context(|| format!("cannot write the report to {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_tables_and_no_charts() {
        let mut page = Page::new("a set".to_owned());
        page.text("one sentence");
        let mut table = TextTable::new(["n"]);
        table.row(["1"]);
        page.table(table.clone());
        page.charts(Vec::new());
        page.captioned("by group", table);
        page.text("the end");
        let expected = "a set\none sentence\n\n  n\n  1\n\nby group\n  n\n  1\n\nthe end\n";
        assert_eq!(page.render(), expected);
    }
}
