//! A cluster that was not made here (kind, k3s, any other), known by a name and a kubeconfig: kubectl asks it, and nothing
//! else is done with it. Its nodes are not ours, so that no program can be started and no image loaded there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::binaries;
use super::state::State;
use crate::command;
use crate::laboratory::Namespace;

/// How long its API server may take to answer.
const PATIENCE: &str = "--request-timeout=20s";

/// A cluster that was not made here.
#[derive(Debug, Clone)]
pub struct Foreign {
    state: State,
    kubeconfig: PathBuf,
}

impl Foreign {
    /// Remembers a cluster under a name, if it answers. Nothing is changed there.
    ///
    /// # Errors
    /// When it does not answer, lets its nodes not be listed, or another cluster has the name.
    pub fn take(name: &str, kubeconfig: &Path) -> Result<Self> {
        let kubeconfig = fs::canonicalize(kubeconfig)
            .with_context(|| format!("cannot find the kubeconfig {}", kubeconfig.display()))?;
        let state = State::of(name)?;
        match Self::named(name)? {
            Some(there) if there.kubeconfig != kubeconfig => bail!(
                "cluster {name} is the one of {} already: `down --name {name}` forgets it",
                there.kubeconfig.display()
            ),
            None if state.folder().exists() => {
                bail!(
                    "there is a cluster {name} that was made here: take it down first, or give another --name"
                )
            }
            _ => {}
        }
        let foreign = Self { state, kubeconfig };
        foreign.kubectl(&["get", "nodes", "-o", "name"]).with_context(|| {
            format!(
                "the cluster of {} does not answer as it must: its nodes are asked for",
                foreign.kubeconfig.display()
            )
        })?;
        foreign.state.note_foreign(&foreign.kubeconfig)?;
        Ok(foreign)
    }

    /// The cluster of this name, when it is one that was not made here.
    ///
    /// # Errors
    /// When the name cannot be one.
    pub fn named(name: &str) -> Result<Option<Self>> {
        let state = State::of(name)?;
        Ok(state.foreign().map(|kubeconfig| Self { state, kubeconfig }))
    }

    /// Its name here.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.name()
    }

    /// Its kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// kubectl as whoever the kubeconfig names, not started yet.
    ///
    /// # Errors
    /// When there is no kubectl.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binaries::find("kubectl")?);
        command.env("KUBECONFIG", &self.kubeconfig).args(arguments);
        Ok(command)
    }

    /// Runs kubectl and returns its standard output.
    ///
    /// # Errors
    /// When it fails: with what it wrote to standard error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.kubectl_command(&[PATIENCE])?;
        command.args(arguments);
        Namespace::die_with_thread(&mut command);
        command::feed_command(command, "")
    }

    /// Why something cannot be done with it from here, and what can be done instead.
    #[must_use]
    pub fn refusal(&self, what: &str, instead: &str) -> anyhow::Error {
        anyhow::anyhow!(
            "{what} is not possible on cluster {}, which was not made here ({}): {instead}",
            self.name(),
            self.kubeconfig.display()
        )
    }
}
