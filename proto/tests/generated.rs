//! The checked-in Rust of the link is exactly what its `.proto` files give.
//!
//! After a change there run this test with `COUPLET_GENERATE=1`. It needs the crate to compile, so
//! generate before using what is new, and before removing what is old.

use std::path::Path;

use tonic_prost_build::Config;

const FILE: &str = "couplet.link.v1.rs";

#[test]
fn the_generated_code_is_what_the_contract_gives() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(["couplet/link/v1/link.proto"], [top]).expect("a valid contract");
    let out = tempfile::tempdir().expect("a folder");
    let mut config = Config::new();
    // Bytes share the buffer they are received in.
    config.bytes(["."]);
    // These may hold passwords: what they print is written by hand.
    config.skip_debug(
        ["Authenticate", "Respond", "Register", "Question"]
            .map(|name| format!(".couplet.link.v1.{name}")),
    );
    tonic_prost_build::configure()
        .build_transport(false)
        .out_dir(out.path())
        .compile_fds_with_config(files, config)
        .expect("generated");
    let given = std::fs::read_to_string(out.path().join(FILE)).expect("one package, one file");
    let kept = top.join("src/gen").join(FILE);
    if std::env::var_os("COUPLET_GENERATE").is_some() {
        std::fs::write(&kept, &given).expect("written");
    }
    let kept = std::fs::read_to_string(kept).expect("checked in");
    assert!(
        kept == given,
        "{FILE} is not what proto/couplet/link/v1 gives"
    );
}
