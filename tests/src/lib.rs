//! Tests of the whole system; see the test targets.
