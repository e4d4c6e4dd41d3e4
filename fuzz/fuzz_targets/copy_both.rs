//! See `walcast_fuzz::copy_both`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| walcast_fuzz::copy_both::check(input));
