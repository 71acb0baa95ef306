//! Tests of the whole system; see the test targets. Here is what more than one of them needs.

pub mod png;
