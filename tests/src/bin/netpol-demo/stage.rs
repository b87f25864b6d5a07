//! Where the scenarios are played: what the matrix and the questions need of it.

use std::process::Output;

use anyhow::Result;
use netpol_tests::Outcome;

use crate::scenarios::{Row, Scenario};

/// The two families, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: &[Self] = &[Self::V4, Self::V6];

    /// Its place where something is given for both.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }
}

/// A laboratory, or a cluster.
pub(crate) trait Stage {
    /// Those that its pods have addresses of.
    fn families(&self) -> &[Family];

    /// Takes the policies that are in force away and puts a scenario's in their place; they are enforced when it returns.
    fn enforce(&mut self, scenario: &Scenario) -> Result<()>;

    /// Asks the questions of all rows at the same time: for each row one answer by each family.
    fn ask(&self, rows: &[Row]) -> Result<Vec<Vec<Outcome>>>;

    /// Runs a command of netpol against the agent of a pod's node.
    fn netpol(&self, pod: &str, arguments: &[&str]) -> Result<Output>;
}
