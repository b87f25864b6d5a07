//! The reference scenarios on real packets: real servers, real clients, the real agent on the scenarios' own files, and a
//! matrix of what was expected beside what was seen. In a laboratory of network namespaces, or on a real cluster.

mod cluster;
mod matrix;
mod networks;
mod questions;
mod scenarios;
mod stage;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use cluster::{OnCluster, Placement};
use matrix::Seen;
use netpol_tests::Link;
use netpol_tests::cluster::Cluster;
use networks::Networks;
use stage::Stage as _;

/// See the reference policies enforced on real packets between network namespaces, or between the pods of a cluster
///
/// Exits with 0 when everything was as expected, with 1 when something differed, with 2 when the demo could not be
/// run. Leaves nothing behind, also when it is interrupted. Needs root.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// On a real cluster: the one that NETPOL_CLUSTER names, or `default`, which is brought up when it does not run and
    /// stays up afterwards
    #[arg(long, conflicts_with_all = ["control_only", "link"])]
    cluster: bool,
    /// On the cluster that runs, watched by another process of this program
    #[arg(long, hide = true, requires = "cluster")]
    watched: bool,
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
    let arguments = Arguments::parse();
    let code = |right: bool| u8::from(!right);
    let outcome = match (arguments.cluster, arguments.watched) {
        (false, _) => in_networks(&arguments).map(code),
        (true, true) => on_cluster(&arguments).map(code),
        (true, false) => cluster::run_watched("--watched"),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("netpol-demo: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Between network namespaces: whether everything was as expected.
fn in_networks(arguments: &Arguments) -> Result<bool> {
    let start = Instant::now();
    step("a node, seven pods, four Services and the world, in network namespaces");
    let link = if arguments.link == "routes" { Link::Routed } else { Link::Bridge };
    let mut networks = Networks::build(&arguments.examples, link).context("cannot build the laboratory")?;
    done(start);

    let servers_start = Instant::now();
    step("servers: HTTP, DNS (dnsmasq), TLS (openssl), a database's port");
    let _servers = networks::start_servers(&networks)?;
    done(servers_start);

    let mut seen = Vec::new();
    if arguments.control_only {
        seen.push(matrix::look(&networks, &scenarios::ALL[0])?);
    } else {
        let agent_start = Instant::now();
        step("the agent");
        networks.lab.start_agent()?;
        done(agent_start);
        for scenario in scenarios::ALL {
            let scenario_start = Instant::now();
            step(scenario.title);
            networks.enforce(scenario)?;
            seen.push(matrix::look(&networks, scenario)?);
            done(scenario_start);
        }
    }
    println!();
    let mut right = matrix::print(networks.families(), &seen);
    if !arguments.control_only {
        right &= questions::ask(&networks)?;
    }
    conclude(seen.iter().map(Seen::len).sum(), start, right);
    if arguments.keep {
        networks::keep(&networks)?;
    }
    Ok(right)
}

/// On a cluster, pods on one node and across two: whether everything was as expected.
fn on_cluster(arguments: &Arguments) -> Result<bool> {
    let start = Instant::now();
    let mut stage = OnCluster::build(Cluster::running()?, &arguments.examples)
        .context("cannot set the example up on the cluster")?;
    let agent_start = Instant::now();
    step("an agent on each node");
    stage.start_agents()?;
    done(agent_start);
    let (mut right, mut probes) = (true, 0);
    for placement in [Placement::OneNode, Placement::TwoNodes] {
        println!("\n== {placement}\n");
        stage.place(placement)?;
        let mut seen = Vec::new();
        for scenario in scenarios::ALL {
            println!("\n-- {}", scenario.title);
            stage.enforce(scenario)?;
            let scenario_start = Instant::now();
            step("every question by every family");
            seen.push(matrix::look(&stage, scenario)?);
            done(scenario_start);
            if placement == Placement::OneNode {
                right &= stage.read_by_hand(scenario)?;
            }
        }
        println!("\n{placement}:");
        right &= matrix::print(stage.families(), &seen);
        right &= questions::ask(&stage)?;
        probes += seen.iter().map(Seen::len).sum::<usize>();
    }
    conclude(probes, start, right);
    if arguments.keep {
        cluster::keep(&stage.cluster);
    }
    Ok(right)
}

/// The last line.
fn conclude(probes: usize, since: Instant, right: bool) {
    println!(
        "\n{probes} probes in {:.0} s: {}",
        since.elapsed().as_secs_f64(),
        if right { "everything as expected" } else { "NOT everything as expected" }
    );
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
