//! See `walcast_fuzz::streamed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| walcast_fuzz::streamed::check(input));
