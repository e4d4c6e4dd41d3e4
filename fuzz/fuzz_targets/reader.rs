//! See `walcast_fuzz::reader`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| walcast_fuzz::reader::check(input));
