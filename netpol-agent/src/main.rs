//! The binary `netpol`: parses the command line and dispatches.

use std::process::ExitCode;

fn main() -> ExitCode {
    netpol_agent::cli::main()
}
