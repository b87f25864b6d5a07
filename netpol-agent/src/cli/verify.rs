//! `netpol verify-programs`: for the virtual machines in which other kernels are tried.

use std::process::ExitCode;

use super::output;
use crate::datapath;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    for program in datapath::verify_programs()? {
        output::text(&format!(
            "{}: {} instructions verified, {} bytes\n",
            program.name, program.instructions, program.bytes
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
