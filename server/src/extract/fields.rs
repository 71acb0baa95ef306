//! Text fields of a form, parsed with a sentence for each wrong value.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use actix_web::{HttpRequest, web};
use facesocial_types::BBox;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::Object;
use crate::error::{ApiError, ApiResult};

/// Most boxes that one photo may come with.
const MAX_BOXES: usize = 100;

/// Text fields by name. Unknown ones are ignored; an empty one counts as absent, as with the original's forms.
#[derive(Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The query of a request's address.
    ///
    /// # Errors
    /// Not of the form `name=value&…`.
    pub fn of_query(req: &HttpRequest) -> ApiResult<Self> {
        let read = web::Query::<Vec<(String, String)>>::from_query(req.query_string());
        let wrong = |_| ApiError::invalid("the query is not of the form name=value&name=value");
        read.map(|pairs| Self(pairs.into_inner())).map_err(wrong)
    }

    /// Members of a JSON object, so that both forms of a body are read by the same rules: null counts as absent, lists and
    /// objects stay JSON.
    pub fn of_json(members: Map<String, Value>) -> Self {
        let text = |value: Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        };
        Self(members.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect())
    }

    /// Every name with its text, in the order of names.
    pub fn sorted(&self) -> Vec<(&str, &str)> {
        let mut all: Vec<_> = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.sort_unstable();
        all
    }

    /// Adds a field; of several with one name the last counts.
    pub fn push(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    /// The field's text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.trim()).filter(|v| !v.is_empty())
    }

    /// A yes or no.
    ///
    /// # Errors
    /// Anything but true, false, 1, 0, yes, no.
    pub fn flag(&self, name: &str) -> ApiResult<Option<bool>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(Some(true)),
            "false" | "0" | "no" => Ok(Some(false)),
            _ => Err(ApiError::invalid(format!(
                "{name} is \"{}\"; allowed are true, false, 1, 0, yes, no",
                short(value)
            ))),
        }
    }

    /// A number within `range`.
    ///
    /// # Errors
    /// No number, or outside of the range.
    pub fn number<T>(&self, name: &str, range: RangeInclusive<T>) -> ApiResult<Option<T>>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(value) = self.get(name) else { return Ok(None) };
        // NaN is in no range.
        let number = value.parse().ok().filter(|n| range.contains(n)).ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            ApiError::invalid(format!("{name} is \"{}\"; allowed are numbers from {low} to {high}", short(value)))
        })?;
        Ok(Some(number))
    }

    /// A value from a closed list.
    ///
    /// # Errors
    /// A name that is not in the list.
    pub fn one_of<T>(&self, name: &str) -> ApiResult<Option<T>>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.get(name).map(|v| v.parse().map_err(|e| ApiError::invalid(format!("{name}: {e}")))).transpose()
    }

    /// JSON in a text field.
    ///
    /// # Errors
    /// No JSON, or not of the expected form.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> ApiResult<Option<T>> {
        let parse = |v| serde_json::from_str(v).map_err(|e| ApiError::invalid(format!("{name} is not valid: {e}")));
        self.get(name).map(parse).transpose()
    }

    /// `face_boxes`: the faces that the client knows of; absent if the photo is to be searched.
    ///
    /// # Errors
    /// Not a list of `{x, y, width, height}`, too many boxes, or a box without area.
    pub fn face_boxes(&self) -> ApiResult<Option<Vec<BBox>>> {
        #[derive(Deserialize)]
        struct FaceBox {
            x: f32,
            y: f32,
            width: f32,
            height: f32,
        }
        let Some(boxes) = self.json::<Vec<Object<FaceBox>>>("face_boxes")? else { return Ok(None) };
        if boxes.len() > MAX_BOXES {
            return Err(ApiError::invalid(format!("face_boxes has {} boxes; at most {MAX_BOXES}", boxes.len())));
        }
        let check = |(i, Object(b)): (usize, Object<FaceBox>)| {
            let fine =
                [b.x, b.y, b.width, b.height].iter().all(|v| v.abs() <= 1e6) && b.width >= 1.0 && b.height >= 1.0;
            let wrong = || format!("face_boxes[{i}] has no area; width and height must be at least 1 pixel");
            fine.then(|| BBox::new(b.x, b.y, b.width, b.height)).ok_or_else(|| ApiError::invalid(wrong()))
        };
        boxes.into_iter().enumerate().map(check).collect::<ApiResult<_>>().map(Some)
    }
}

/// A client's value as it is repeated in a message.
fn short(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use facesocial_types::Detector;

    use super::*;

    fn fields(name: &str, value: &str) -> Fields {
        Fields(vec![(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn flags_take_six_words() {
        for (word, expected) in
            [("true", true), ("FALSE", false), ("1", true), ("0", false), ("Yes", true), ("no", false)]
        {
            assert_eq!(fields("f", word).flag("f"), Ok(Some(expected)));
        }
        let message = fields("f", "maybe").flag("f").unwrap_err().detail;
        assert_eq!(message, "f is \"maybe\"; allowed are true, false, 1, 0, yes, no");
        assert_eq!(fields("f", "").flag("f"), Ok(None));
        assert_eq!(fields("g", "x").flag("f"), Ok(None));
    }

    #[test]
    fn numbers_outside_of_their_range_are_refused() {
        assert_eq!(fields("n", "0.25").number("n", 0.0..=1.0), Ok(Some(0.25)));
        for wrong in ["1.5", "-1", "NaN", "inf", "abc"] {
            let detail = fields("n", wrong).number("n", 0.0..=1.0).unwrap_err().detail;
            assert!(detail.contains("from 0 to 1"), "{detail}");
        }
        assert!(fields("n", "3.5").number("n", 1usize..=10).is_err());
    }

    #[test]
    fn lists_name_what_is_allowed() {
        assert_eq!(fields("d", "MTCNN").one_of("d"), Ok(Some(Detector::Mtcnn)));
        let detail = fields("d", "dlib").one_of::<Detector>("d").unwrap_err().detail;
        assert!(detail.starts_with("d: unknown detector \"dlib\"; allowed are"), "{detail}");
    }

    #[test]
    fn boxes_need_four_numbers_and_an_area() {
        let parse = |text| fields("face_boxes", text).face_boxes();
        assert_eq!(parse(r#"[{"x":1,"y":2,"width":3,"height":4,"confidence":0.9}]"#).unwrap().unwrap().len(), 1);
        assert_eq!(parse("[]").unwrap().unwrap().len(), 0);
        for wrong in [
            "{",
            "5",
            r#"[{"x":1}]"#,
            r#"[{"x":1,"y":2,"width":0,"height":4}]"#,
            r#"[{"x":1e30,"y":2,"width":3,"height":4}]"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let many = format!("[{}]", vec![r#"{"x":1,"y":2,"width":3,"height":4}"#; 101].join(","));
        assert!(parse(&many).unwrap_err().detail.contains("at most 100"));
    }

    #[test]
    fn what_a_client_sent_is_repeated_short_and_without_control_characters() {
        assert_eq!(short("a\r\nb"), "ab");
        assert_eq!(short(&"x".repeat(100)).len(), 40);
    }
}
