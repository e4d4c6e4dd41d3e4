//! See `walcast_fuzz::values`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| walcast_fuzz::values::check(input));
