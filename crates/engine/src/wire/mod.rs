//! What networks are asked and what they answer, as bytes between two processes: compact, and every fault of the bytes an
//! error.
//!
//! A message is `FSNW`, the version of this form, whether it asks or answers, the network's name and its version (a length
//! byte each), the number of items, and the items. Numbers are little-endian; pictures are their sides and then their
//! pixels, so that nothing is lost on the way. The version of the weights is part of every message: an answer of other
//! weights is an error, not a wrong score.

mod message;
mod values;

pub(crate) use message::{answer, question, read_answer, read_question};

/// First bytes of every message.
const MAGIC: &[u8; 4] = b"FSNW";
/// Version of the form.
const VERSION: u8 = 1;
/// Most items of one message.
pub(crate) const MAX_ITEMS: usize = 4096;

/// Something that can be sent to another process and comes out there bit by bit as it went in.
pub trait Wire: Sized {
    /// Fewest bytes that a value takes, at least 1: a list sets nothing aside that its bytes cannot fill.
    const LEAST: usize;

    /// Appends the value.
    fn write(&self, to: &mut Vec<u8>);

    /// Takes a value.
    ///
    /// # Errors
    /// The bytes are none.
    fn read(from: &mut Cursor<'_>) -> Result<Self, WireError>;
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The first bytes are not a message's.
    #[error("the bytes are no message about a network")]
    Magic,
    /// Written by another version of this program.
    #[error("the message has the form {found}, and this program reads the form {VERSION}")]
    Form {
        /// The form.
        found: u8,
    },
    /// A question where an answer is due, or the other way round.
    #[error("the message is of the wrong kind")]
    Kind,
    /// It ends within a value.
    #[error("the message ends early")]
    Truncated,
    /// It goes on after its last value.
    #[error("the message has more bytes than items")]
    Trailing,
    /// More items than a message may have, or another number than was asked about.
    #[error("the message has {found} items; allowed are {allowed}")]
    Count {
        /// Items of the message.
        found: usize,
        /// Items that it may have.
        allowed: usize,
    },
    /// A name that is no text, or a tag that is none of the known ones.
    #[error("the message has an unknown {what}")]
    Unknown {
        /// What it was to be.
        what: &'static str,
    },
    /// A number that is not finite.
    #[error("the message has a number that is not finite")]
    NotFinite,
    /// A picture without pixels.
    #[error("the message has a picture without pixels")]
    Empty,
    /// A picture of another size than the network takes.
    #[error("the message has an item of another size than {network} takes")]
    Size {
        /// The network's name.
        network: &'static str,
    },
    /// Another network, or the same one with other weights.
    #[error("the message speaks of {found}, and {expected} is meant")]
    OtherNetwork {
        /// Name and version in the message.
        found: String,
        /// Name and version here.
        expected: String,
    },
}

/// Takes values from the front of a message.
#[derive(Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Reads `bytes` from their beginning.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn byte(&mut self) -> Result<u8, WireError> {
        self.array().map(|[byte]| byte)
    }

    /// The next number of 32 bits.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn number(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    /// The length of a list whose entries take `least` bytes each: never more than can follow.
    fn length(&mut self, least: usize) -> Result<usize, WireError> {
        let length = self.number()? as usize;
        if length > self.rest.len() / least.max(1) { Err(WireError::Truncated) } else { Ok(length) }
    }

    /// A text behind its length in one byte.
    fn text(&mut self, what: &'static str) -> Result<&'a str, WireError> {
        let length = usize::from(self.byte()?);
        std::str::from_utf8(self.bytes(length)?).map_err(|_| WireError::Unknown { what })
    }

    /// Nothing is left.
    fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing) }
    }
}

#[cfg(test)]
mod tests;
