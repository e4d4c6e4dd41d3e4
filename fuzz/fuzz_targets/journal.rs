//! See `walcast_fuzz::journal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| walcast_fuzz::journal::check(input));
