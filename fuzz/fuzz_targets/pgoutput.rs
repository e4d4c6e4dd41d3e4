//! See `walcast_fuzz::pgoutput`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| walcast_fuzz::pgoutput::check(input));
