//! Questions and answers: who is meant, then the items.

use facesocial_types::ModelId;

use super::{Cursor, MAGIC, MAX_ITEMS, VERSION, Wire, WireError};
use crate::error::{EngineError, Result};

/// A message that asks.
const QUESTION: u8 = 1;
/// A message that answers.
const ANSWER: u8 = 2;
/// An item that was answered.
const DONE: u8 = 0;
/// An item that made the network fail.
const FAILED: u8 = 1;
/// Most bytes of a sentence about a failure.
const SENTENCE: usize = 255;

/// The question for each of `items`.
pub(crate) fn question<I: Wire>(id: &ModelId, items: &[I]) -> Vec<u8> {
    let mut to = head(QUESTION, id, items.len());
    items.iter().for_each(|item| item.write(&mut to));
    to
}

/// The items of a question to the network `id`.
///
/// # Errors
/// The bytes are no such question.
pub(crate) fn read_question<I: Wire>(id: &ModelId, bytes: &[u8]) -> Result<Vec<I>, WireError> {
    let mut from = Cursor::new(bytes);
    let count = read_head(QUESTION, id, &mut from)?;
    if count > from.rest.len() / I::LEAST {
        return Err(WireError::Truncated);
    }
    let items = (0..count).map(|_| I::read(&mut from)).collect::<Result<_, _>>()?;
    from.end()?;
    Ok(items)
}

/// The answer with what became of each item. An item that made the network fail is told in its place; anything else that
/// went wrong is not about the item, and is no answer.
///
/// # Errors
/// The first failure that is not an item's own.
pub(crate) fn answer<O: Wire>(id: &ModelId, answers: Vec<Result<O>>) -> Result<Vec<u8>> {
    let mut to = head(ANSWER, id, answers.len());
    for answer in answers {
        match answer {
            Ok(output) => {
                to.push(DONE);
                output.write(&mut to);
            }
            Err(error @ (EngineError::Run { .. } | EngineError::Panicked { .. })) => {
                tracing::warn!(network = id.name(), error = &error as &dyn std::error::Error, "an item failed");
                to.push(FAILED);
                write_text(&error.to_string(), &mut to);
            }
            Err(other) => return Err(other),
        }
    }
    Ok(to)
}

/// What the network `id` answered about `count` items; a failure of one of them as its sentence.
///
/// # Errors
/// The bytes are no such answer.
pub(crate) fn read_answer<O: Wire>(
    id: &ModelId,
    count: usize,
    bytes: &[u8],
) -> Result<Vec<Result<O, String>>, WireError> {
    let mut from = Cursor::new(bytes);
    let found = read_head(ANSWER, id, &mut from)?;
    if found != count {
        return Err(WireError::Count { found, allowed: count });
    }
    let one = |from: &mut Cursor<'_>| match from.byte()? {
        DONE => O::read(from).map(Ok),
        FAILED => Ok(Err(from.text("failure")?.to_owned())),
        _ => Err(WireError::Unknown { what: "outcome" }),
    };
    let answers = (0..count).map(|_| one(&mut from)).collect::<Result<_, _>>()?;
    from.end()?;
    Ok(answers)
}

fn head(kind: u8, id: &ModelId, items: usize) -> Vec<u8> {
    let mut to = MAGIC.to_vec();
    to.extend([VERSION, kind]);
    write_text(id.name(), &mut to);
    write_text(id.version(), &mut to);
    // Whoever asks sends a few at a time.
    to.extend(u32::try_from(items).unwrap_or(u32::MAX).to_le_bytes());
    to
}

/// How many items follow.
fn read_head(kind: u8, id: &ModelId, from: &mut Cursor<'_>) -> Result<usize, WireError> {
    if from.bytes(MAGIC.len()) != Ok(MAGIC) {
        return Err(WireError::Magic);
    }
    match (from.byte()?, from.byte()?) {
        (VERSION, found) if found == kind => {}
        (VERSION, _) => return Err(WireError::Kind),
        (found, _) => return Err(WireError::Form { found }),
    }
    let (name, version) = (from.text("name")?, from.text("version")?);
    if (name, version) != (id.name(), id.version()) {
        return Err(WireError::OtherNetwork { found: format!("{name}@{version}"), expected: id.to_string() });
    }
    let count = from.number()? as usize;
    if count > MAX_ITEMS { Err(WireError::Count { found: count, allowed: MAX_ITEMS }) } else { Ok(count) }
}

/// A text of at most 255 bytes behind its length; the rest of a longer one is left out.
fn write_text(text: &str, to: &mut Vec<u8>) {
    let text = &text[..text.floor_char_boundary(SENTENCE)];
    to.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    to.extend(text.as_bytes());
}
