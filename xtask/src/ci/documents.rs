//! What the documents name is there: the commands of `cargo xtask`, and the files that a link leads to.

use std::fs;

use anyhow::{Context as _, Result, bail};

use super::Fine;
use crate::project;

pub(crate) fn check() -> Result<Fine> {
    let commands = crate::command_names();
    let mut documents = 0;
    let mut wrong = Vec::new();
    for folder in [project::root().to_owned(), project::root().join("docs")] {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            documents += 1;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
            for command in
                named_commands(&text).filter(|command| !commands.iter().any(|known| known == command))
            {
                wrong.push(format!("{name} names `cargo xtask {command}`, which is not there"));
            }
            for link in links(&text).filter(|link| !folder.join(link).exists()) {
                wrong.push(format!("{name} links to {link}, which is not there"));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    Ok(Fine::Checked(format!("{documents} documents at the top and in docs")))
}

/// Every WORD of `cargo xtask WORD`.
fn named_commands(text: &str) -> impl Iterator<Item = &str> {
    text.split("cargo xtask ").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })
}

/// The relative targets of Markdown links, without anchors.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', '#', ' ']).next()?;
        (!target.is_empty() && !target.contains("://")).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::{links, named_commands};

    #[test]
    fn commands_and_links_are_found() {
        let text = "Run `cargo xtask test --kernel all`, or `cargo xtask setup | demo`.\n\
                    See [this](docs/a.md#part), [that](https://example.org) and [below](#below).";
        assert_eq!(named_commands(text).collect::<Vec<_>>(), ["test", "setup"]);
        assert_eq!(links(text).collect::<Vec<_>>(), ["docs/a.md"]);
    }
}
