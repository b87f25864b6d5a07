//! The reference scenarios on real packets: a laboratory of network namespaces, real servers, real clients, the real
//! agent on the scenarios' own files, and a matrix of what was expected beside what was seen.

mod clients;
mod cluster;
mod keep;
mod matrix;
mod questions;
mod scenarios;
mod servers;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use cluster::Cluster;
use matrix::Seen;
use netpol_tests::Link;

/// See the reference policies enforced on real packets between network namespaces
///
/// Exits with 0 when everything was as expected, with 1 when something differed, with 2 when the demo could not be
/// run. Leaves nothing behind, also when it is interrupted. Needs root.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Leave the laboratory up at the end, with all policies in force, and print commands to play with
    #[arg(long)]
    keep: bool,
    /// Without the agent: only the positive control, that everything arrives without policies
    #[arg(long)]
    control_only: bool,
    /// How pods hang on the node: ports of a bridge, or each by a route of its own
    #[arg(long, value_name = "HOW", value_parser = ["bridge", "routes"], default_value = "bridge")]
    link: String,
    /// The folder of the example's files
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"))]
    examples: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("netpol-demo: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything was as expected.
fn run(arguments: &Arguments) -> Result<bool> {
    let start = Instant::now();
    step("a node, seven pods, four Services and the world, in network namespaces");
    let link = if arguments.link == "routes" { Link::Routed } else { Link::Bridge };
    let mut cluster = Cluster::build(&arguments.examples, link).context("cannot build the laboratory")?;
    done(start);

    let servers_start = Instant::now();
    step("servers: HTTP, DNS (dnsmasq), TLS (openssl), a database's port");
    let _servers = servers::start(&cluster)?;
    done(servers_start);

    let mut seen = Vec::new();
    if arguments.control_only {
        seen.push(matrix::look(&cluster, &scenarios::ALL[0])?);
    } else {
        let agent_start = Instant::now();
        step("the agent");
        cluster.lab.start_agent()?;
        done(agent_start);
        for scenario in scenarios::ALL {
            let scenario_start = Instant::now();
            step(scenario.title);
            cluster.enforce(scenario)?;
            seen.push(matrix::look(&cluster, scenario)?);
            done(scenario_start);
        }
    }
    println!();
    let mut right = matrix::print(&seen);
    if !arguments.control_only {
        right &= questions::ask(&cluster)?;
    }
    println!();
    let probes: usize = seen.iter().map(Seen::len).sum();
    println!(
        "{probes} probes in {:.0} s: {}",
        start.elapsed().as_secs_f64(),
        if right { "everything as expected" } else { "NOT everything as expected" }
    );
    if arguments.keep {
        keep::keep(&cluster)?;
    }
    Ok(right)
}

/// Says what begins.
fn step(what: &str) {
    print!("{what} ... ");
    // Progress that cannot be shown is no reason to stop.
    drop(std::io::stdout().flush());
}

/// Says how long it took.
fn done(since: Instant) {
    println!("{:.1} s", since.elapsed().as_secs_f64());
}
