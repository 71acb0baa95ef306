//! The operations of the API's document, with paths that can be asked for.

use std::sync::LazyLock;

use reqwest::Method;
use serde_json::Value;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../server/openapi.json")).unwrap());

/// One operation.
pub struct Operation {
    pub method: Method,
    /// As it stands in the document.
    pub path: &'static str,
    /// What is said of it.
    pub told: &'static Value,
}

impl Operation {
    /// The path with `names` filled in, and an identifier that nothing has for the others.
    pub fn filled(&self, names: &[(&str, &str)]) -> String {
        let filled =
            names.iter().fold(self.path.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
        let parts: Vec<&str> =
            filled.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest)).collect();
        parts.join("0198c0de-0000-7000-8000-000000000000")
    }

    /// The schema of a body of a media type.
    pub fn body(&self, media_type: &str) -> Option<&'static Value> {
        Some(&self.told["requestBody"]["content"][media_type]["schema"]).filter(|schema| schema.is_object())
    }
}

/// Every operation.
pub fn operations() -> impl Iterator<Item = Operation> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, told)| Operation {
            method: method.to_uppercase().parse().unwrap(),
            path,
            told,
        })
    })
}
