//! What keeps those out who are not let in, and what is theirs apart from what is others'. Each file is a subject.

mod archives;
mod assignment;
mod document;
mod embeddings;
mod guessing;
mod headers;
mod injection;
mod objects;
mod outbound;
#[cfg(unix)]
mod process;
mod raw;
mod requests;
#[cfg(unix)]
mod secrets;
mod slow;
mod strangers;
mod tokens;
mod whole;
