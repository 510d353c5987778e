#![no_main]

#[path = "../harness/parsers.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::run("directory", bytes));
