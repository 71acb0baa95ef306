//! Times as whole microseconds since 1970 UTC: they sort as numbers, which the text form of SQLite's tradition does not.

use sqlx::{
    Decode, Encode, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef},
};
use time::{Duration, OffsetDateTime};

/// A time to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) OffsetDateTime);

impl Time {
    /// Now.
    pub(crate) fn now() -> Self {
        Self::from(OffsetDateTime::now_utc())
    }

    fn microseconds(self) -> Result<i64, BoxDynError> {
        Ok(i64::try_from(self.0.unix_timestamp_nanos().div_euclid(1000))?)
    }
}

/// Cuts to the microsecond: what is answered now is what is read later.
impl From<OffsetDateTime> for Time {
    fn from(time: OffsetDateTime) -> Self {
        Self(time - Duration::nanoseconds(i64::from(time.nanosecond() % 1000)))
    }
}

impl Type<Sqlite> for Time {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(ty: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(ty)
    }
}

impl Encode<'_, Sqlite> for Time {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(self.microseconds()?, buffer)
    }
}

impl Decode<'_, Sqlite> for Time {
    fn decode(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        let microseconds = <i64 as Decode<Sqlite>>::decode(value)?;
        Ok(Self(OffsetDateTime::from_unix_timestamp_nanos(i128::from(microseconds) * 1000)?))
    }
}
