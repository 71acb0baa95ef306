//! The target `http`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| facesocial_fuzz_targets::run("http", bytes));
