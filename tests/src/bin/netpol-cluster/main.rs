//! A real Kubernetes on this machine, without Docker: made, shown, used and removed.

mod status;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser as _, Subcommand};
use netpol_tests::cluster::up::{self, Made};
use netpol_tests::cluster::{Agents, Cluster, Cni, Family, Foreign, Options, Proxy};

/// A real Kubernetes on this machine, without Docker
///
/// Every part is a process of this machine in namespaces of its own. Nothing touches the machine's own interfaces, rules or
/// control groups, and `down` leaves nothing. Needs root. Exits with 0 when what was asked is done, with 1 when not.
#[derive(Debug, clap::Parser)]
#[command(name = "netpol-cluster")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, clap::Args)]
struct Name {
    /// Which cluster: several live side by side
    #[arg(long, default_value = "default", env = "NETPOL_CLUSTER")]
    name: String,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a cluster, and wait until its nodes and its DNS are ready; or take one that is there
    Up {
        #[command(flatten)]
        name: Name,
        /// Take the cluster of this kubeconfig (kind, k3s, any other) instead of making one: `status` and `kubectl` work on it
        /// under its name, `down` forgets it, and nothing is changed there
        #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "proxy", "cni", "family"])]
        kubeconfig: Option<PathBuf>,
        /// How many nodes
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=20))]
        nodes: u8,
        /// How kube-proxy translates Services
        #[arg(long, value_enum, default_value_t = Proxy::Nftables)]
        proxy: Proxy,
        /// How pods hang on their node: ports of a bridge, or a route to each
        #[arg(long, value_enum, default_value_t = Cni::Bridge)]
        cni: Cni,
        /// Which addresses nodes, pods and Services have
        #[arg(long, value_enum, default_value_t = Family::Dual)]
        family: Family,
    },
    /// Remove a cluster, whatever state it is in
    Down {
        #[command(flatten)]
        name: Name,
        /// Every cluster, and what dead ones left
        #[arg(long)]
        all: bool,
    },
    /// Show a cluster's parts with their process numbers; exits with 1 when it is not up
    Status {
        #[command(flatten)]
        name: Name,
    },
    /// Run kubectl as the admin
    Kubectl {
        #[command(flatten)]
        name: Name,
        /// What kubectl is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<OsString>,
    },
    /// Run a command of netpol against the agent of a node
    Netpol {
        #[command(flatten)]
        name: Name,
        /// Which node; the first one when nothing is said
        #[arg(long)]
        node: Option<String>,
        /// What netpol is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        rest: Vec<OsString>,
    },
    /// Give image archives, as `cargo xtask image` or `docker save` writes them, to every node
    LoadImage {
        #[command(flatten)]
        name: Name,
        /// The archives
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// What every other process of a cluster descends from
    #[command(hide = true)]
    Anchor { name: String, lock: i32 },
    /// A node's first process
    #[command(hide = true)]
    Node { name: String, node: String, proc: i32 },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("netpol-cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::Up { name, kubeconfig: Some(kubeconfig), .. } => take(&name.name, &kubeconfig)?,
        Action::Up { name, kubeconfig: None, nodes, proxy, cni, family } => {
            return up(&Options { name: name.name, nodes, proxy, cni, family });
        }
        Action::Down { name, all } => {
            let names =
                if all { up::all().into_iter().map(|(name, _)| name).collect() } else { vec![name.name] };
            for name in &names {
                down(name)?;
            }
            if names.is_empty() {
                println!("there is no cluster");
            }
        }
        Action::Status { name } => return status::show(&name.name),
        Action::Kubectl { name, rest } => {
            let mut kubectl = match Foreign::named(&name.name)? {
                Some(foreign) => foreign.kubectl_command(&[])?,
                None => Cluster::named(&name.name)?.kubectl_command(&[])?,
            };
            return Err(kubectl.args(rest).exec().into());
        }
        Action::Netpol { name, node, rest } => {
            let cluster = Cluster::named(&name.name)?;
            let node = node.map_or(Ok(&cluster.nodes()[0]), |node| cluster.node(&node))?;
            return Err(Agents::command(node)?.args(rest).exec().into());
        }
        Action::LoadImage { name, archives } => {
            if let Some(foreign) = Foreign::named(&name.name)? {
                return Err(foreign.refusal(
                    "load-image",
                    "its nodes take images by its own tool, such as `kind load image-archive FILE` or `k3s ctr images import FILE`",
                ));
            }
            let cluster = Cluster::named(&name.name)?;
            for archive in archives {
                let start = Instant::now();
                cluster.load_image(&archive)?;
                println!("{} is on every node ({:.1} s)", archive.display(), start.elapsed().as_secs_f64());
            }
        }
        Action::Anchor { name, lock } => netpol_tests::cluster::run_anchor(&name, lock)?,
        Action::Node { name, node, proc } => netpol_tests::cluster::run_node(&name, &node, proc)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    println!("cluster {}: {options}", options.name);
    let made = up::up(options, &|at: Duration, what: &str| {
        println!("  {:5.1} s  {what}", at.as_secs_f64());
        // Whoever reads on, reads on.
        drop(std::io::stdout().flush());
    })?;
    let name = if options.name == "default" { String::new() } else { format!(" --name {}", options.name) };
    match made {
        Made::New(_) => println!("up in {:.1} s", start.elapsed().as_secs_f64()),
        Made::Already(_) => println!("is up already"),
    }
    println!(
        "use it by `cargo xtask cluster kubectl{name} get pods -A`, end it by `cargo xtask cluster down{name}`"
    );
    Ok(ExitCode::SUCCESS)
}

/// Takes a cluster that is there.
fn take(name: &str, kubeconfig: &Path) -> Result<()> {
    let foreign = Foreign::take(name, kubeconfig)?;
    print!(
        "cluster {name} is the one of {}\n{}",
        foreign.kubeconfig().display(),
        foreign.kubectl(&["version"])?
    );
    println!("`status` and `kubectl` work on it; agents cannot be started on its nodes from here");
    Ok(())
}

fn down(name: &str) -> Result<()> {
    let start = Instant::now();
    if Foreign::named(name)?.is_some() {
        up::down(name)?;
        println!("cluster {name} is forgotten; nothing in it was touched");
    } else if up::down(name)? {
        println!("cluster {name} is removed ({:.1} s)", start.elapsed().as_secs_f64());
    } else {
        println!("there is no cluster {name}");
    }
    Ok(())
}
