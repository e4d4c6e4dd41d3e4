//! See `walcast_fuzz::settings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| walcast_fuzz::settings::check(input));
