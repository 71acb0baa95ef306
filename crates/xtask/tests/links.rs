//! Links between the documents of the repository lead somewhere: to a file that is there and, where a heading is named, to it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that hold nothing of the project's own.
const LEFT_OUT: [&str; 4] = ["target", "node_modules", "demo", "out"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !LEFT_OUT.contains(&name.as_str()) {
                documents(&path, found);
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// What is not code: fenced blocks and spans are left out.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            kept.extend(line.split('`').step_by(2));
            kept.push('\n');
        }
    }
    kept
}

/// The targets of `[text](target)`.
fn targets(prose: &str) -> Vec<&str> {
    prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// The headings of a document, as GitHub names them in addresses.
fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let heading = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && line.starts_with('#') {
            found.push(heading(line));
        }
    }
    found
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    documents(&top(), &mut all);
    let mut followed = 0;
    for document in all {
        let text = fs::read_to_string(&document).unwrap();
        for target in targets(&prose(&text)) {
            // Others' pages are not asked.
            if target.contains("://") {
                continue;
            }
            followed += 1;
            let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
            let file = if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            let leads = match anchor {
                None => file.exists(),
                Some(anchor) => fs::read_to_string(&file).is_ok_and(|text| anchors(&text).iter().any(|a| a == anchor)),
            };
            if !leads {
                faults.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(followed > 30, "{followed} links were followed");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn links_and_headings_are_read_as_they_are_shown() {
    let text =
        "# A title, of `two` parts\n\n[one](a.md) and `[none](b.md)`\n```\n[nor](c.md)\n# comment\n```\n[two](#x)\n";
    assert_eq!(targets(&prose(text)), ["a.md", "#x"]);
    assert_eq!(anchors(text), ["a-title-of-two-parts"]);
}
