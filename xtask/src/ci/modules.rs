//! Every Rust file belongs to a module tree: one that no `mod` names is never compiled, and its tests never run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Fine;
use crate::project;

pub(crate) fn check(members: &[Value]) -> Result<Fine> {
    let folders: BTreeSet<PathBuf> = members
        .iter()
        .filter_map(|member| Path::new(member["manifest_path"].as_str()?).parent().map(Path::to_owned))
        .collect();
    let mut reached = BTreeSet::new();
    for member in members {
        for target in member["targets"].as_array().context("a package without targets")? {
            let source = target["src_path"].as_str().context("a target without a source")?;
            follow(Path::new(source), true, &mut reached)?;
        }
    }
    let mut lost = Vec::new();
    let mut files = 0;
    for folder in &folders {
        let mut found = Vec::new();
        rust_files(folder, &folders, &mut found)?;
        files += found.len();
        lost.extend(found.into_iter().filter(|file| !reached.contains(file)));
    }
    if !lost.is_empty() {
        let names: Vec<String> = lost
            .iter()
            .map(|file| file.strip_prefix(project::root()).unwrap_or(file).display().to_string())
            .collect();
        bail!("no `mod` leads to {}", names.join(", "));
    }
    Ok(Fine::Checked(format!("{files} files, each in a module tree")))
}

/// Adds `file` and every file that its `mod` lines lead to.
fn follow(file: &Path, is_root: bool, reached: &mut BTreeSet<PathBuf>) -> Result<()> {
    if !reached.insert(file.to_owned()) {
        return Ok(());
    }
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let is_mod_rs = file.file_name().is_some_and(|name| name == "mod.rs");
    let below = if is_root || is_mod_rs { folder.to_owned() } else { file.with_extension("") };
    for reference in references(&text) {
        let candidates = match &reference {
            Reference::Module(name) => {
                vec![below.join(format!("{name}.rs")), below.join(name).join("mod.rs")]
            }
            Reference::Path(path) => vec![folder.join(path)],
        };
        for candidate in candidates {
            if candidate.is_file() {
                // `#[path = "../x.rs"]`: the listing of files knows the short form only.
                let candidate = candidate.canonicalize().unwrap_or(candidate);
                follow(&candidate, false, reached)?;
            }
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Reference {
    /// `mod name;`
    Module(String),
    /// `#[path = "..."]` or `include!("...")`
    Path(String),
}

/// What a source file refers to. Reads lines, which is all that formatted code needs.
fn references(text: &str) -> Vec<Reference> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
        .filter_map(|line| {
            if let Some(rest) = line
                .strip_prefix("#[path = \"")
                .or_else(|| line.split_once("include!(\"").map(|(_, rest)| rest))
            {
                return rest.split('"').next().map(|path| Reference::Path(path.to_owned()));
            }
            let declaration = line.strip_suffix(';')?;
            let (before, name) = declaration.rsplit_once("mod ")?;
            let is_declaration =
                before.is_empty() || before.trim_end().ends_with(']') || before.starts_with("pub");
            is_declaration.then(|| Reference::Module(name.trim().trim_start_matches("r#").to_owned()))
        })
        .collect()
}

/// The Rust files below `folder`, without those of packages nested in it and without the build's output.
fn rust_files(folder: &Path, packages: &BTreeSet<PathBuf>, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if !packages.contains(&path) && path.file_name().is_some_and(|name| name != "target") {
                rust_files(&path, packages, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Reference, references};

    #[test]
    fn declarations_are_found_and_prose_is_not() {
        let text = "//! mod prose;\nmod a;\npub(crate) mod b;\n#[cfg(test)] mod c;\nmod inline {\n}\n\
                    #[path = \"../d.rs\"]\nlet mode = 1;\n";
        let names = ["a", "b", "c"].map(|name| Reference::Module(name.to_owned()));
        assert_eq!(references(text)[..3], names);
        assert_eq!(references(text)[3..], [Reference::Path("../d.rs".to_owned())]);
    }
}
