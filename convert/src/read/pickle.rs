//! What a pickle would make, told from its opcodes before candle's stack machine sees them.
//!
//! That machine trusts a pickle. An integer longer than 8 bytes overflows its shift; a string's length is allocated before it
//! is read; what is taken from the memo is copied, so that a few bytes that name each other twice fill any memory; and what is
//! nested deeper than the stack of a thread ends the process when it is dropped.

use std::collections::HashMap;

/// Deepest nesting; a state dict has a tenth of it.
const DEEPEST: usize = 64;
/// Most objects for each byte of a pickle, copies counted; a state dict takes more bytes than objects.
const OBJECTS_PER_BYTE: usize = 4;

/// An object of the stack.
#[derive(Clone, Copy, Default)]
struct Object {
    /// Objects inside of it, one inside of the other.
    depth: usize,
    /// Objects that it consists of.
    parts: usize,
}

/// The stack as far as it matters here.
#[derive(Default)]
struct Machine {
    /// `None` stands for a mark.
    stack: Vec<Option<Object>>,
    memo: HashMap<u32, Object>,
    /// Objects that were made so far.
    made: usize,
}

/// Length of the pickle at the start of `bytes`.
///
/// # Errors
/// A sentence: it is cut off, holds an opcode that no state dict needs, or would make more or deeper objects than it may.
pub(super) fn length(bytes: &[u8]) -> Result<usize, String> {
    let cut = || "it ends inside of a pickle".to_owned();
    let mut machine = Machine::default();
    let mut at = 0;
    loop {
        let opcode = *bytes.get(at).ok_or_else(cut)?;
        let rest = &bytes[at + 1..];
        let argument = match opcode {
            b'.' => return Ok(at + 1),
            0x80 | b'q' | b'h' | b'K' => 1,
            b'M' => 2,
            b'J' | b'r' | b'j' => 4,
            b'G' => 8,
            0x8a => match usize::from(*rest.first().ok_or_else(cut)?) {
                n @ 0..=8 => 1 + n,
                n => return Err(format!("an integer of {n} bytes")),
            },
            b'X' => 4 + u32::from_le_bytes(*rest.first_chunk().ok_or_else(cut)?) as usize,
            // Two lines: module and name.
            b'c' => {
                let mut ends = rest.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1);
                ends.nth(1).ok_or_else(cut)?
            }
            _ => 0,
        };
        let argument = rest.get(..argument).ok_or_else(cut)?;
        at += 1 + argument.len();
        machine.take(opcode, argument)?;
        if machine.made > at * OBJECTS_PER_BYTE {
            return Err(format!("a pickle makes more than {OBJECTS_PER_BYTE} objects for each of its bytes"));
        }
    }
}

impl Machine {
    fn take(&mut self, opcode: u8, argument: &[u8]) -> Result<(), String> {
        match opcode {
            0x80 => Ok(()),
            b'(' => {
                self.stack.push(None);
                Ok(())
            }
            b'c' | b'X' | b'K' | b'M' | b'J' | b'G' | b'N' | b')' | b']' | b'}' | 0x88..=0x8a => {
                self.push(Object::default())
            }
            b'h' | b'j' => {
                let known = self.memo.get(&number(argument)).copied();
                self.push(known.ok_or("a pickle takes what was never put aside")?)
            }
            b'q' | b'r' => {
                let top = self.pop()?;
                self.memo.insert(number(argument), top);
                // What was put aside is a copy.
                self.made = self.made.saturating_add(top.parts).saturating_add(1);
                self.stack.push(Some(top));
                Ok(())
            }
            0x85 | b'Q' => self.join(1),
            0x86 | 0x81 | b'R' | b'b' => self.join(2),
            0x87 => self.join(3),
            b't' | b'd' => {
                let inside = self.above_mark()?;
                self.join(inside)
            }
            b'a' => self.fill(1),
            b's' => self.fill(2),
            b'e' | b'u' => {
                let inside = self.above_mark()?;
                self.fill(inside)
            }
            other => Err(format!("pickle opcode {other:#04x} is not part of a state dict")),
        }
    }

    fn push(&mut self, object: Object) -> Result<(), String> {
        self.made = self.made.saturating_add(object.parts).saturating_add(1);
        self.put(object)
    }

    fn pop(&mut self) -> Result<Object, String> {
        self.stack.pop().flatten().ok_or_else(|| "a pickle takes more than there is".to_owned())
    }

    /// Takes a mark away and says how many objects lie above it.
    fn above_mark(&mut self) -> Result<usize, String> {
        let mark = self.stack.iter().rposition(Option::is_none).ok_or("a pickle has no mark where it needs one")?;
        self.stack.remove(mark);
        Ok(self.stack.len() - mark)
    }

    /// Puts one new object in the place of the `count` topmost, which it holds.
    fn join(&mut self, count: usize) -> Result<(), String> {
        let inside = self.take_top(count)?;
        self.made = self.made.saturating_add(1);
        self.put(inside)
    }

    /// Puts the `count` topmost into the container below them.
    fn fill(&mut self, count: usize) -> Result<(), String> {
        let inside = self.take_top(count)?;
        let container = self.pop()?;
        self.put(Object {
            depth: container.depth.max(inside.depth),
            parts: container.parts.saturating_add(inside.parts),
        })
    }

    /// Takes the `count` topmost away: what holds them is so deep, and consists of so many.
    fn take_top(&mut self, count: usize) -> Result<Object, String> {
        (0..count).try_fold(Object::default(), |whole, _| {
            let part = self.pop()?;
            Ok(Object {
                depth: whole.depth.max(part.depth + 1),
                parts: whole.parts.saturating_add(part.parts).saturating_add(1),
            })
        })
    }

    fn put(&mut self, object: Object) -> Result<(), String> {
        if object.depth > DEEPEST {
            return Err(format!("a pickle nests objects deeper than {DEEPEST}"));
        }
        self.stack.push(Some(object));
        Ok(())
    }
}

/// The number under which an object is put aside, of one byte or four.
fn number(argument: &[u8]) -> u32 {
    argument.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pickle_ends_at_its_stop() {
        assert_eq!(length(b"\x80\x02K\x07.rest"), Ok(5));
        assert!(length(b"\x80\x02K").unwrap_err().contains("ends inside"));
        assert!(length(b"X\xff\xff\xff\xffab.").unwrap_err().contains("ends inside"));
        assert!(length(b"\x8a\x09123456789.").unwrap_err().contains("9 bytes"));
        assert!(length(b"i.").unwrap_err().contains("0x69"));
    }

    #[test]
    fn lists_and_dicts_that_are_filled_item_by_item_are_not_deep() {
        let items = b"K\x01a".repeat(1000);
        assert!(length(&[b"]", &items[..], b"."].concat()).is_ok());
        let pairs = b"K\x01K\x02s".repeat(1000);
        assert!(length(&[b"}", &pairs[..], b"."].concat()).is_ok());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| length(&[b"N", &[0x85].repeat(depth)[..], b"."].concat());
        assert!(nested(DEEPEST).is_ok());
        assert!(nested(DEEPEST + 1).unwrap_err().contains("deeper than 64"));
        assert!(nested(1_000_000).is_err());
    }

    #[test]
    fn copies_of_copies_are_bounded() {
        // Each round holds the one before twice.
        let doubling = b"q\x00h\x00\x86".repeat(40);
        assert!(length(&[b"N", &doubling[..], b"."].concat()).unwrap_err().contains("objects for each of its bytes"));
        // The same with a list that holds the copies one by one.
        let wide = [b"](", &b"NNNNNNNN".repeat(100)[..], b"eq\x00", &b"h\x00".repeat(500), b"."].concat();
        assert!(length(&wide).is_err());
    }

    #[test]
    fn what_is_not_there_cannot_be_taken() {
        for wrong in [&b"\x85."[..], b"h\x00.", b"t.", b"(e.", b"K\x01(a.", b"q\x00."] {
            assert!(length(wrong).is_err(), "{wrong:?}");
        }
    }
}
