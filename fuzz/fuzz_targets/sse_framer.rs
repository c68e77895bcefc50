#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| baton_fuzz::sse_framer(input));
