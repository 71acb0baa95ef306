//! Times as `timestamptz`, which keeps microseconds.

use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef},
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
}

/// Cuts to the microsecond: what is answered now is what is read later.
impl From<OffsetDateTime> for Time {
    fn from(time: OffsetDateTime) -> Self {
        Self(time - Duration::nanoseconds(i64::from(time.nanosecond() % 1000)))
    }
}

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode(self.0, buffer)
    }
}

impl Decode<'_, Postgres> for Time {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        <OffsetDateTime as Decode<Postgres>>::decode(value).map(Self)
    }
}
