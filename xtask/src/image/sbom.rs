//! What is linked into the shipped binary, as CycloneDX 1.5 in JSON: crates of the agent and of its programs for the kernel
//! by `cargo tree`, with the digests of `Cargo.lock`; Rust's library and the C library by the compiler's and the machine's
//! own words. What only builds it is not listed.
//!
//! The format: <https://cyclonedx.org/docs/1.5/json/>.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::shipped::Arch;
use crate::{process, project};

/// The target of the programs for the kernel.
const KERNEL: &str = "bpfel-unknown-none";

/// A crate, by name and version.
type Id = (String, String);

/// What is known of a crate.
#[derive(Debug, Default)]
struct Crate {
    licence: String,
    uses: BTreeSet<Id>,
}

/// The list for a processor.
pub(super) fn list(arch: Arch) -> Result<Value> {
    let mut crates = BTreeMap::new();
    let root = tree("netpol-agent", arch.target(), &mut crates)?;
    let programs = tree("netpol-ebpf", KERNEL, &mut crates)?;
    // The binary carries them.
    crates.entry(root.clone()).or_default().uses.insert(programs);
    let lock = fs::read_to_string(project::root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let checksums = checksums(&lock);
    let mut components: Vec<Value> = crates
        .iter()
        .filter(|(id, _)| **id != root)
        .map(|(id, one)| component(id, one, checksums.get(id)))
        .collect();
    components.extend(libraries(arch)?);
    let dependencies: Vec<Value> = crates
        .iter()
        .map(|(id, one)| json!({"ref": purl(id), "dependsOn": one.uses.iter().map(purl).collect::<Vec<_>>()}))
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "application",
            "bom-ref": purl(&root),
            "name": "netpol",
            "version": root.1,
            "purl": purl(&root),
            "licenses": [{"expression": env!("CARGO_PKG_LICENSE")}],
        }},
        "components": components,
        "dependencies": dependencies,
    }))
}

/// Adds everything that is linked into a package, and returns the package itself.
fn tree(package: &str, target: &str, crates: &mut BTreeMap<Id, Crate>) -> Result<Id> {
    let mut cargo = project::cargo();
    cargo.args(["tree", "--locked", "--package", package, "--target", target]);
    cargo.args(["--edges", "normal,no-proc-macro", "--prefix", "depth", "--format", " {p}|{l}"]);
    read_tree(&process::read(&mut cargo)?, crates).with_context(|| format!("cargo tree names no {package}"))
}

/// Reads lines of `DEPTH NAME vVERSION [(...)]|LICENCE [(*)]`, from the root down.
fn read_tree(text: &str, crates: &mut BTreeMap<Id, Crate>) -> Option<Id> {
    let mut path: Vec<Id> = Vec::new();
    for line in text.lines() {
        let (depth, rest) = line.split_once(' ')?;
        let (package, licence) = rest.split_once('|')?;
        let mut words = package.split(' ');
        let id = (words.next()?.to_owned(), words.next()?.trim_start_matches('v').to_owned());
        path.truncate(depth.parse().ok()?);
        if let Some(parent) = path.last() {
            crates.entry(parent.clone()).or_default().uses.insert(id.clone());
        }
        let licence = licence.trim_end_matches(" (*)");
        licence.clone_into(&mut crates.entry(id.clone()).or_default().licence);
        path.push(id);
    }
    path.first().cloned()
}

/// The digests of `Cargo.lock` by name and version.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let packages = lock.split("[[package]]").skip(1).filter_map(|package| {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
            Some(line.trim_matches('"').to_owned())
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    });
    packages.collect()
}

fn purl((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{version}")
}

fn component(id: &Id, one: &Crate, checksum: Option<&String>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(id),
        "name": id.0,
        "version": id.1,
        "purl": purl(id),
        // Crates used to write MIT/Apache-2.0.
        "licenses": [{"expression": one.licence.replace('/', " OR ")}],
    });
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

/// What is linked that is no crate.
fn libraries(arch: Arch) -> Result<Vec<Value>> {
    let rust = process::read(Command::new("rustc").arg("--version").current_dir(project::root()))?;
    let rust = rust.split(' ').nth(1).context("rustc does not say its version")?.to_owned();
    let library = |name: &str, version: &str, licence: &str| {
        json!({
            "type": "library",
            "bom-ref": format!("{name}@{version}"),
            "name": name,
            "version": version,
            "licenses": [{"expression": licence}],
        })
    };
    Ok(vec![
        library("rust-std", &rust, "MIT OR Apache-2.0"),
        library("glibc", &glibc(arch)?, "LGPL-2.1-or-later"),
    ])
}

/// The version of the C library that is linked.
fn glibc(arch: Arch) -> Result<String> {
    let compiler = if arch == Arch::host()? { "cc" } else { arch.cross_compiler() };
    let mut command = Command::new("sh");
    let asks =
        format!("echo '#include <gnu/libc-version.h>\n__GLIBC__ __GLIBC_MINOR__' | {compiler} -E -P -");
    let said =
        process::read(command.args(["-c", &asks])).context("the C compiler does not say its library")?;
    let words: Vec<&str> = said.lines().last().unwrap_or_default().split(' ').collect();
    let [major, minor] = words[..] else { bail!("{compiler} knows no glibc: {said}") };
    Ok(format!("{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Id, checksums, read_tree};

    fn id(name: &str, version: &str) -> Id {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn a_tree_is_read_with_who_uses_whom() {
        let text = "0 agent v0.1.0 (/somewhere)|Apache-2.0\n1 a v1.0.0|MIT\n2 b v2.1.0|MIT/Apache-2.0\n1 b v2.1.0|MIT/Apache-2.0 (*)\n";
        let mut crates = BTreeMap::new();
        assert_eq!(read_tree(text, &mut crates), Some(id("agent", "0.1.0")));
        let uses = |of: &Id| crates[of].uses.iter().cloned().collect::<Vec<_>>();
        assert_eq!(uses(&id("agent", "0.1.0")), [id("a", "1.0.0"), id("b", "2.1.0")]);
        assert_eq!(uses(&id("a", "1.0.0")), [id("b", "2.1.0")]);
        assert_eq!(crates[&id("b", "2.1.0")].licence, "MIT/Apache-2.0");
        assert_eq!(read_tree("no tree", &mut crates), None);
    }

    #[test]
    fn the_lock_file_gives_the_digests_of_what_comes_from_elsewhere() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n\n\
                    [[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n";
        let found = checksums(lock);
        assert_eq!(found.get(&id("a", "1.0.0")).map(String::as_str), Some("00ff"));
        assert_eq!(found.len(), 1);
    }
}
