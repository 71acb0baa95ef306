//! The built files of the console, compiled into the binary.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{self, Write},
    sync::LazyLock,
};

use flate2::{Compression, write::GzEncoder};
use rust_embed::RustEmbed;

use crate::extract::hex;

/// Names the sources that the others were built from; for a test alone.
const DIGEST: &str = "sources.sha256";

/// What `npm run build` made of the sources beside it.
#[derive(RustEmbed)]
#[folder = "console/dist"]
struct Built;

/// One file.
pub struct File {
    /// Its content.
    pub bytes: Cow<'static, [u8]>,
    /// The content as gzip; `None` where that would not be smaller.
    pub packed: Option<Vec<u8>>,
    /// Entity tag of the content.
    pub tag: String,
    /// Entity tag of the gzip.
    pub packed_tag: String,
    /// By the name's ending.
    pub media_type: &'static str,
    /// Whether its name changes with its content.
    pub is_asset: bool,
    /// Whether it is a page and no part of one.
    pub is_page: bool,
}

static FILES: LazyLock<HashMap<String, File>> = LazyLock::new(|| {
    let of = |name: Cow<'static, str>| {
        let embedded = Built::get(&name)?;
        let digest = hex(&embedded.metadata.sha256_hash());
        let packed = gzip(&embedded.data).ok().filter(|packed| packed.len() < embedded.data.len());
        let file = File {
            packed,
            tag: format!("\"{digest}\""),
            packed_tag: format!("\"{digest}-gzip\""),
            media_type: media_type(&name),
            is_asset: name.starts_with("assets/"),
            is_page: name.ends_with(".html"),
            bytes: embedded.data,
        };
        Some((name.into_owned(), file))
    };
    Built::iter().filter(|name| name != DIGEST).filter_map(of).collect()
});

/// A file by its path below the console's folder.
pub fn find(path: &str) -> Option<&'static File> {
    FILES.get(path)
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use sha2::{Digest, Sha256};

    use super::*;

    /// The files beside `src` that decide what is built; the same list stands in `console/digest.mjs`.
    const BESIDE: [&str; 6] =
        ["docs.html", "index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts"];

    fn below(folder: &Path, name: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder.join(name)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{name}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                below(folder, &path, found);
            } else {
                found.push(path);
            }
        }
    }

    #[test]
    fn what_is_compiled_in_was_built_from_the_sources_beside_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
        let mut paths: Vec<String> = BESIDE.map(str::to_owned).to_vec();
        below(&folder, "src", &mut paths);
        paths.sort();
        let mut digest = Sha256::new();
        for path in &paths {
            let text = fs::read_to_string(folder.join(path)).unwrap().replace("\r\n", "\n");
            digest.update(format!("{path}\n{}\n", text.len()));
            digest.update(text);
        }
        let built = fs::read_to_string(folder.join("dist/sources.sha256")).unwrap();
        assert_eq!(built.trim(), hex(&digest.finalize()), "server/console/dist is stale; run `cargo xtask console`");
    }

    #[test]
    fn pages_name_only_files_that_are_there_and_hold_nothing_inline() {
        for page in ["index.html", "docs.html"] {
            let file = find(page).unwrap_or_else(|| panic!("{page} is not built"));
            let text = std::str::from_utf8(&file.bytes).unwrap();
            let mut named = 0;
            for quoted in text.split('"').filter(|part| part.starts_with("/console/")) {
                let asset = find(&quoted["/console/".len()..]);
                assert!(asset.is_some_and(|asset| asset.is_asset), "{page} names {quoted}");
                named += 1;
            }
            assert!(named >= 2, "{page} names {named} files");
            assert!(!text.contains("<style") && !text.contains(" style="), "{page}");
            for script in text.split("<script").skip(1) {
                assert!(script.contains(" src=") && script.contains("></script>"), "{page} has an inline script");
            }
            assert!(!text.contains("http://") && !text.contains("https://"), "{page} names another server");
        }
    }

    #[test]
    fn the_console_is_small() {
        let of_console = FILES.iter().filter(|(name, _)| name.starts_with("assets/index-"));
        let sent: usize = of_console.map(|(_, f)| f.packed.as_ref().map_or(f.bytes.len(), Vec::len)).sum();
        assert!((10_000..120_000).contains(&sent), "{sent} bytes are sent");
    }
}
