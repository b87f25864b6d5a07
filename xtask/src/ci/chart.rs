//! The chart and the manifests of `deploy/`, by tests of `netpol-tests`: Helm's own lint, and a real API server that is given every
//! object, and knows each field better than a copy of its schemas would.

use anyhow::Result;

use super::Fine;
use crate::setup::{Ready, rights};
use crate::{process, project};

/// The tests in `tests/tests/api`.
const TESTS: &str = "deploy::";

pub(crate) fn check(ready: &Ready) -> Result<Fine> {
    let mut cargo = project::cargo();
    ready.ebpf.prepare(&mut cargo);
    ready.tell_kubernetes(&mut cargo);
    cargo.args(["test", "--quiet", "--locked", "--package", "netpol-tests", "--test", "api", "--", TESTS]);
    if !rights::is_root()? {
        process::run(&mut cargo)?;
        return Ok(Fine::Partly("neither Helm nor an API server was asked: that takes root".to_owned()));
    }
    process::run(cargo.arg("--include-ignored"))?;
    Ok(Fine::Checked("Helm finds nothing, an API server takes every object".to_owned()))
}
