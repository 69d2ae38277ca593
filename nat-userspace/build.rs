//! Embeds the BPF object that `cargo xtask build` made, or says in the binary that there is none.
//!
//! Without `NATGW_BPF_OBJECT` the crate still checks, lints and tests (no BPF toolchain needed); the
//! resulting binary refuses to run a gateway and names the command that builds a complete one.

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=NATGW_BPF_OBJECT");
    println!("cargo::rustc-check-cfg=cfg(bpf_object)");
    let Some(object) = std::env::var_os("NATGW_BPF_OBJECT").map(PathBuf::from) else { return };
    println!("cargo::rerun-if-changed={}", object.display());
    match std::fs::read(&object) {
        Ok(bytes) if bytes.starts_with(b"\x7fELF") => {
            println!("cargo::rustc-cfg=bpf_object");
            println!("cargo::rustc-env=NATGW_BPF_OBJECT={}", object.display());
        }
        Ok(_) => panic!("NATGW_BPF_OBJECT={} is not an ELF file; run `cargo xtask build`", object.display()),
        Err(e) => panic!("NATGW_BPF_OBJECT={}: {e}; run `cargo xtask build`", object.display()),
    }
}
