//! Every member of the workspace takes the workspace's lints.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Fine;

pub(crate) fn inherit_lints(members: &[Value]) -> Result<Fine> {
    let mut without = Vec::new();
    for member in members {
        let name = member["name"].as_str().context("a package without a name")?;
        let manifest = Path::new(member["manifest_path"].as_str().context("a package without a manifest")?);
        let text = std::fs::read_to_string(manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        if !inherits(&text) {
            without.push(name);
        }
    }
    if !without.is_empty() {
        bail!("add `[lints]` with `workspace = true` to the Cargo.toml of {}", without.join(", "));
    }
    Ok(Fine::Checked(format!("by all {} members", members.len())))
}

/// Whether a manifest has `workspace = true` in its table `lints`.
fn inherits(manifest: &str) -> bool {
    let mut in_table = false;
    for line in manifest.lines().map(|line| line.replace(' ', "")) {
        if line.starts_with('[') {
            in_table = line == "[lints]";
        } else if (in_table && line == "workspace=true") || line == "lints.workspace=true" {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::inherits;

    #[test]
    fn only_the_table_lints_counts() {
        assert!(inherits("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"));
        assert!(!inherits("[package]\nname = \"a\"\n[dependencies.b]\nworkspace = true\n"));
        assert!(!inherits("[lints]\n[dependencies.b]\nworkspace = true\n"));
    }
}
