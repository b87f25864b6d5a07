//! What kernels make of the programs: how many instructions the verifier walks, how much stack they need, and how much
//! machine code comes of them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use netpol_agent::datapath::{Verified, verify_programs};

use crate::machine::Machine;

/// By what this is asked for.
pub(crate) const NAME: &str = "programs";
/// What it is, for people.
pub(crate) const WHAT: &str = "what the kernel makes of the programs: instructions, stack, machine code";

/// A kernel, and what it makes of each program.
pub(crate) struct Programs {
    /// The kernel's release.
    pub(crate) kernel: String,
    pub(crate) all: Vec<Verified>,
}

impl Programs {
    /// On this kernel.
    pub(crate) fn here(machine: &Machine) -> Result<Self> {
        Ok(Self { kernel: machine.kernel.clone(), all: verify_programs()? })
    }

    /// On a kernel on which `netpol verify-programs` wrote the file, whose name ends with the kernel's.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let all: Vec<Verified> = text.lines().filter_map(line).collect();
        if all.is_empty() {
            anyhow::bail!("{} names no program", path.display());
        }
        Ok(Self { kernel: name.trim_start_matches("programs-").to_owned(), all })
    }
}

/// A program in its line; other lines are none.
fn line(line: &str) -> Option<Verified> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, instructions, machine, stack] = *words else { return None };
    let (instructions, machine) = (instructions.parse().ok()?, machine.parse().ok()?);
    Some(Verified { name: name.to_owned(), instructions, stack: stack.to_owned(), machine })
}

#[cfg(test)]
mod tests {
    use super::Programs;

    #[test]
    fn what_another_kernel_said_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("programs-5.10.262-1");
        let said = "program  verified instructions  machine bytes  stack\nto_pod  187806  45107  352+152\n\
                    netpol-vm: /job/netpol ended with 0\n";
        std::fs::write(&path, said).unwrap();
        let Programs { kernel, all } = Programs::read(&path).unwrap();
        assert_eq!((kernel.as_str(), all.len()), ("5.10.262-1", 1));
        assert_eq!(
            (all[0].instructions, all[0].machine, all[0].stack.as_str()),
            (187_806, 45_107, "352+152")
        );
        std::fs::write(&path, "").unwrap();
        assert!(Programs::read(&path).is_err());
    }
}
