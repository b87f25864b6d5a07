//! Link arguments of the eBPF object.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "bpf") {
        // Without it, copies become byte loops, which cost the verifier three times the instructions.
        println!("cargo:rustc-link-arg-bins=--disable-expand-memcpy-in-order");
    }
}
