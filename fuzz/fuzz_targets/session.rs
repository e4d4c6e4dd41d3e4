//! See `walcast_fuzz::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| walcast_fuzz::session::check(input));
