//! `netpol verify-programs`: for the virtual machines in which other kernels are tried.

use std::process::ExitCode;

use super::output;
use crate::datapath;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    output::text(&format!(
        "{:14} {:>21} {:>14}  {}\n",
        "program", "verified instructions", "machine bytes", "stack"
    ))?;
    for program in datapath::verify_programs()? {
        let datapath::Verified { name, instructions, machine, stack } = program;
        output::text(&format!("{name:14} {instructions:>21} {machine:>14}  {stack}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
