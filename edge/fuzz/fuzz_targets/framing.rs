//! `cargo fuzz run framing --features libfuzzer`: any input, the same oracle.

#![no_main]

use couplet_edge_fuzz::oracle;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    oracle::check(input, |_| {});
});
