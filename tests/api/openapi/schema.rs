//! Holds JSON against the schemas of the document: the keywords that it uses, and no others, so that none is passed over.

use serde_json::{Map, Value};

/// What is said for people and checks nothing.
const NOTES: [&str; 5] = ["description", "examples", "default", "title", "format"];

/// Every fault of `value` against `schema`, each with its place. An object has no members but those that its schema names:
/// what is answered and not documented is a fault here, though clients are told to expect more.
pub fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(document, schema, value, "", &mut found);
    found
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let schema = schema.as_object().unwrap_or_else(|| panic!("{at}: the schema is no object"));
    for (keyword, wanted) in schema {
        match keyword.as_str() {
            "$ref" => {
                let reference = wanted.as_str().unwrap().trim_start_matches('#');
                let target = document.pointer(reference).unwrap_or_else(|| panic!("{reference} leads nowhere"));
                check(document, target, value, at, found);
            }
            "type" => of_type(wanted, value, at, found),
            "enum" => {
                if !wanted.as_array().unwrap().contains(value) {
                    found.push(format!("{at}: {value} is none of {wanted}"));
                }
            }
            "oneOf" => {
                let tries = wanted.as_array().unwrap().iter().map(|one| faults(document, one, value));
                let tries: Vec<Vec<String>> = tries.collect();
                let fitting = tries.iter().filter(|faults| faults.is_empty()).count();
                if fitting != 1 {
                    found.push(format!("{at}: {fitting} forms fit {value}: {tries:?}"));
                }
            }
            "properties" => members(document, schema, wanted, value, at, found),
            "required" => {
                let missing =
                    |name: &&Value| value.as_object().is_some_and(|m| !m.contains_key(name.as_str().unwrap()));
                found
                    .extend(wanted.as_array().unwrap().iter().filter(missing).map(|n| format!("{at}: {n} is missing")));
            }
            "additionalProperties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    check(document, wanted, member, &format!("{at}/{name}"), found);
                }
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, wanted, item, &format!("{at}/{i}"), found);
                }
            }
            "minItems" | "maxItems" => {
                let (length, bound) = (value.as_array().map(Vec::len), wanted.as_u64().unwrap() as usize);
                let fits = length.is_none_or(|n| if keyword == "minItems" { n >= bound } else { n <= bound });
                if !fits {
                    found.push(format!("{at}: {length:?} items, {keyword} is {bound}"));
                }
            }
            "minimum" | "maximum" => {
                let (number, bound) = (value.as_f64(), wanted.as_f64().unwrap());
                let fits = number.is_none_or(|n| if keyword == "minimum" { n >= bound } else { n <= bound });
                if !fits {
                    found.push(format!("{at}: {value}, {keyword} is {bound}"));
                }
            }
            // Both stand in requests alone, which are not held against the document here.
            "minLength" | "maxLength" => panic!("{at}: {keyword} in the schema of an answer"),
            note if NOTES.contains(&note) => {}
            unknown => panic!("{at}: the keyword {unknown} is not known to this test"),
        }
    }
}

fn of_type(wanted: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        unknown => panic!("{unknown} is no type"),
    };
    let fits = wanted.as_array().map_or_else(|| is(wanted), |kinds| kinds.iter().any(is));
    if !fits {
        found.push(format!("{at}: {value} is no {wanted}"));
    }
}

fn members(
    document: &Value,
    schema: &Map<String, Value>,
    properties: &Value,
    value: &Value,
    at: &str,
    found: &mut Vec<String>,
) {
    assert!(!schema.contains_key("additionalProperties"), "{at}: one of the two is enough here");
    for (name, member) in value.as_object().into_iter().flatten() {
        match properties.get(name) {
            Some(schema) => check(document, schema, member, &format!("{at}/{name}"), found),
            None => found.push(format!("{at}: {name} is not documented")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_found() {
        let document = json!({ "components": { "schemas": { "Box": {
            "type": "object", "properties": { "x": { "type": "number", "minimum": 0 } }, "required": ["x"]
        } } } });
        let schema = json!({
            "type": "object",
            "properties": {
                "box": { "$ref": "#/components/schemas/Box" },
                "name": { "type": ["string", "null"], "description": "for people" },
                "kind": { "enum": ["a", "b"] },
                "counts": { "type": "object", "additionalProperties": { "type": "integer" } },
                "pair": { "type": "array", "items": { "type": "boolean" }, "minItems": 2, "maxItems": 2 },
                "either": { "oneOf": [{ "type": "null" }, { "$ref": "#/components/schemas/Box" }] }
            },
            "required": ["box"]
        });
        let fits = json!({ "box": { "x": 1.5 }, "name": null, "kind": "b", "counts": { "n": 1 }, "pair": [true, false],
            "either": { "x": 0 } });
        assert_eq!(faults(&document, &schema, &fits), Vec::<String>::new());
        for (wrong, part) in [
            (json!([]), "is no"),
            (json!({}), "missing"),
            (json!({ "box": {} }), "\"x\" is missing"),
            (json!({ "box": { "x": -1 } }), "minimum"),
            (json!({ "box": { "x": "1" } }), "is no"),
            (json!({ "box": { "x": 1 }, "name": 3 }), "/name"),
            (json!({ "box": { "x": 1 }, "kind": "c" }), "is none of"),
            (json!({ "box": { "x": 1 }, "counts": { "n": 1.5 } }), "/counts/n"),
            (json!({ "box": { "x": 1 }, "pair": [true] }), "minItems"),
            (json!({ "box": { "x": 1 }, "pair": [true, true, true] }), "maxItems"),
            (json!({ "box": { "x": 1 }, "pair": [true, 0] }), "/pair/1"),
            (json!({ "box": { "x": 1 }, "either": 3 }), "0 forms fit"),
            (json!({ "box": { "x": 1 }, "more": 1 }), "not documented"),
        ] {
            let found = faults(&document, &schema, &wrong).join("; ");
            assert!(found.contains(part), "{wrong}: {found}");
        }
    }

    #[test]
    #[should_panic(expected = "not known")]
    fn a_keyword_that_is_not_checked_is_no_silent_one() {
        faults(&json!({}), &json!({ "pattern": "^a" }), &json!("a"));
    }
}
