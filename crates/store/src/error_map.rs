//! Failures of the databases, sorted into those that pass and those that stay.

use std::borrow::Cow;

use sqlx::error::{DatabaseError, Error};

use crate::error::StoreError;

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let reason: Cow<'static, str> = match &error {
            Error::PoolTimedOut => "no connection became free in time".into(),
            Error::PoolClosed => "it was closed".into(),
            Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::WorkerCrashed | Error::BeginFailed => {
                "the connection failed".into()
            }
            Error::ColumnDecode { index, .. } => {
                return Self::Damaged(format!("column {index} holds a value of the wrong kind"));
            }
            Error::Decode(_) => return Self::Damaged("a value of the wrong kind".to_owned()),
            Error::Database(database) => match sort(database.as_ref()) {
                Kind::Passing(reason) => reason.into(),
                Kind::Damage => return Self::Damaged(database.message().to_owned()),
                Kind::Other => return Self::Database(Box::new(error)),
            },
            _ => return Self::Database(Box::new(error)),
        };
        Self::Unavailable { reason: reason.into_owned(), source: Some(Box::new(error)) }
    }
}

enum Kind {
    Passing(&'static str),
    Damage,
    Other,
}

fn sort(error: &dyn DatabaseError) -> Kind {
    let code = error.code().unwrap_or_default();
    // SQLSTATE has five characters; SQLite's extended result codes are numbers below 10 000.
    if code.len() == 5 { postgres(&code) } else { code.parse().map_or(Kind::Other, sqlite) }
}

/// By SQLSTATE.
fn postgres(code: &str) -> Kind {
    match code {
        "40001" | "40P01" => Kind::Passing("two changes were in each other's way"),
        "55P03" => Kind::Passing("another change holds the rows for too long"),
        "25006" => Kind::Passing("it takes no changes at the moment"),
        "53100" => Kind::Passing("its disk is full"),
        "53300" => Kind::Passing("it has no connection left"),
        "XX001" | "XX002" => Kind::Damage,
        _ if code.starts_with("08") => Kind::Passing("the connection failed"),
        _ if code.starts_with("53") => Kind::Passing("it has too few resources"),
        _ if code.starts_with("57") => Kind::Passing("it is starting, stopping or gave up the request"),
        _ if code.starts_with("58") => Kind::Passing("its disk failed"),
        _ => Kind::Other,
    }
}

/// By the low byte of SQLite's result code, which is the code's family.
fn sqlite(code: u32) -> Kind {
    match code & 0xff {
        5 | 6 => Kind::Passing("another change holds the database for too long"),
        7 => Kind::Passing("memory is full"),
        8 => Kind::Passing("its file cannot be written to"),
        10 => Kind::Passing("its disk failed"),
        13 => Kind::Passing("its disk is full"),
        14 => Kind::Passing("its file cannot be opened"),
        11 | 26 => Kind::Damage,
        _ => Kind::Other,
    }
}

/// Whether a row that the change refers to is not there.
pub(crate) fn is_missing_reference(error: &Error) -> bool {
    error.as_database_error().is_some_and(|e| e.is_foreign_key_violation())
}

/// Whether a unique value is taken.
pub(crate) fn is_taken(error: &Error) -> bool {
    error.as_database_error().is_some_and(|e| e.is_unique_violation())
}
