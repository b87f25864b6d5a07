//! Builds the eBPF objects, which the agent embeds: one binary is all that is shipped.
//!
//! The toolchain is `NETPOL_BPF_TOOLCHAIN`, or what `cargo xtask setup` noted in its cache, or `nightly`; bpf-linker
//! is taken from the PATH, or from that cache.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain, build_ebpf};

const TOOLCHAIN: &str = "NETPOL_BPF_TOOLCHAIN";

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={TOOLCHAIN}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../netpol-common/src");
    let cache = cache();
    if which::which("bpf-linker").is_err() {
        let Some(linker) = cache.as_deref().and_then(cached_linker) else {
            bail!("bpf-linker is neither on the PATH nor in the cache: run `cargo xtask setup`");
        };
        let path = env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(linker).chain(env::split_paths(&path));
        let joined = env::join_paths(paths).context("a folder of the PATH holds a colon")?;
        // SAFETY: a build script has one thread at this point.
        unsafe { env::set_var("PATH", joined) };
    }
    let toolchain = match env::var(TOOLCHAIN) {
        Ok(name) if !name.is_empty() => name,
        _ => cache
            .and_then(|cache| fs::read_to_string(cache.join("bpf-toolchain")).ok())
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "nightly".to_owned()),
    };
    if toolchain.contains("netpol-bpf") {
        // A distribution's stable compiler, asked for unstable features.
        // SAFETY: a build script has one thread at this point.
        unsafe { env::set_var("RUSTC_BOOTSTRAP", "1") };
    }
    // Each line of the inner cargo becomes a warning, which the outer one repeats at every build.
    // SAFETY: a build script has one thread at this point.
    unsafe {
        env::remove_var("CARGO_TERM_VERBOSE");
        env::set_var("CARGO_TERM_QUIET", "true");
    }
    if env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("--remap-path-prefix")) {
        // What is shipped names no path of the machine that builds it; what the programs say of their lines neither.
        // SAFETY: a build script has one thread at this point.
        unsafe {
            env::set_var("CARGO_UNSTABLE_TRIM_PATHS", "true");
            env::set_var("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all");
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../netpol-ebpf");
    let root = root.to_str().context("the path of the workspace is not UTF-8")?;
    let chosen = [("CARGO_FEATURE_BPF_LOG", "log"), ("CARGO_FEATURE_OTHER_LAYOUT", "other-layout")];
    let features: Vec<&str> =
        chosen.iter().filter(|(on, _)| env::var_os(on).is_some()).map(|(_, feature)| *feature).collect();
    build_ebpf(
        [Package { name: "netpol-ebpf", root_dir: root, features: &features, ..Package::default() }],
        Toolchain::Custom(&toolchain),
    )
}

/// Where `cargo xtask setup` keeps heavy things.
fn cache() -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(base.join("netpol"))
}

/// The folder of the newest bpf-linker in the cache.
fn cached_linker(cache: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(cache)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("bpf-linker-"))
                && path.join("bin/bpf-linker").exists()
        })
        .collect();
    found.sort();
    found.pop().map(|path| path.join("bin"))
}
