//! `cargo xtask test --cluster`: the tests on a real Kubernetes, whole on one combination of proxy and CNI and a sample on
//! each other one.

use anyhow::{Context as _, Result};

use super::{Arguments, passed_on};
use crate::cluster::{self, Programs};
use crate::setup::{self, Ready};
use crate::test::totals::Totals;
use crate::{build, image, process, project};

/// What a cluster is made of, and which tests run on it: those whose path holds one of these, all where none is named.
struct Combination {
    proxy: &'static str,
    cni: &'static str,
    family: &'static str,
    tests: &'static [&'static str],
}

/// What the path of a test says that is run on every combination.
const SAMPLE: &str = "in_each_combination";

/// The one that everything is tried on; what `cargo xtask cluster up` makes when nothing is said.
const FULL: Combination = Combination { proxy: "nftables", cni: "bridge", family: "dual", tests: &[] };

/// Those on which a sample is tried, with what kube-proxy's mode or the CNI makes another thing of.
const OTHERS: &[Combination] = &[
    Combination { proxy: "iptables", cni: "bridge", family: "dual", tests: &[SAMPLE, "network::"] },
    Combination { proxy: "nftables", cni: "ptp", family: "ipv4", tests: &[SAMPLE] },
    Combination { proxy: "iptables", cni: "ptp", family: "dual", tests: &[SAMPLE, "lives::"] },
    Combination { proxy: "nftables", cni: "bridge", family: "ipv6", tests: &[SAMPLE] },
];

/// What the paths of tests say that `--brief` leaves out: they start many pods, wait long or measure.
const LONG: &[&str] = &[
    "alive::damaged",
    "alive::rolling",
    "conformance::published",
    "deployed::",
    "faults::server",
    "figures::",
    "lives::many",
    "remains::",
    "start::",
];

/// The cluster that `cargo xtask cluster up` makes; taken as it is when it runs.
const USUAL: &str = "default";
/// The clusters that are made here, one after the other.
const OWN: &str = "tests";

impl Combination {
    fn name(&self) -> String {
        format!("kube-proxy {}, CNI {}, {}", self.proxy, self.cni, self.family)
    }

    fn flags(&self) -> [&str; 6] {
        ["--proxy", self.proxy, "--cni", self.cni, "--family", self.family]
    }
}

pub(super) fn run(arguments: &Arguments, totals: &mut Totals) -> Result<()> {
    let ready = setup::ensure(&cluster::needs()).context("the tests on a cluster cannot run")?;
    let programs = Programs::build(&ready)?;
    let usual = process::succeeds(programs.cluster(&ready).args(["status", "--name", USUAL]));
    if usual {
        println!("== the cluster {USUAL} that runs ({})", FULL.name());
        process::run(programs.cluster(&ready).args(["up", "--name", USUAL]).args(FULL.flags()))
            .context("the tests want the cluster as `cargo xtask cluster up` makes it: take it down first")?;
        tests(arguments, &ready, &programs, USUAL, &FULL, totals)?;
    } else {
        on_own(arguments, &ready, &programs, &FULL, totals)?;
    }
    if arguments.brief {
        let others: Vec<String> = OTHERS.iter().map(Combination::name).collect();
        totals.take_line(&format!("not run: on a cluster {} (--brief)", LONG.join(", ")));
        totals.take_line(&format!("not run: all on the other clusters: {} (--brief)", others.join("; ")));
    }
    // A filter asks for certain tests, not for all of them everywhere.
    if arguments.filter.is_none() && !arguments.brief {
        for combination in OTHERS {
            on_own(arguments, &ready, &programs, combination, totals)?;
        }
    }
    Ok(())
}

/// The tests on a cluster that is made for them.
fn on_own(
    arguments: &Arguments,
    ready: &Ready,
    programs: &Programs,
    combination: &Combination,
    totals: &mut Totals,
) -> Result<()> {
    println!("== a cluster: {}", combination.name());
    let down = || process::run(programs.cluster(ready).args(["down", "--name", OWN]));
    // An interrupted run may have left one.
    down()?;
    let up = process::run(programs.cluster(ready).args(["up", "--name", OWN]).args(combination.flags()));
    if let Err(error) = &up {
        println!("FAILED: {error:#}");
    }
    totals.one(&format!("cluster up: {}", combination.name()), up.is_ok());
    if up.is_ok() {
        tests(arguments, ready, programs, OWN, combination, totals)?;
    }
    down()
}

fn tests(
    arguments: &Arguments,
    ready: &Ready,
    programs: &Programs,
    name: &str,
    combination: &Combination,
    totals: &mut Totals,
) -> Result<()> {
    let other = build::other_layout(&ready.ebpf)?;
    // As it is shipped where something is measured: on a small machine the agent competes with what it is measured by.
    let netpol = build::netpol(&ready.ebpf, !arguments.brief)?;
    let mut cargo = project::cargo();
    ready.ebpf.prepare(&mut cargo);
    programs.tell(ready, &mut cargo);
    cargo.args(["test", "--package", "netpol-tests", "--test", "cluster"]);
    cargo
        .env("NETPOL_BIN", netpol)
        .env("NETPOL_OTHER_LAYOUT", other)
        .env("NETPOL_CLUSTER", name)
        .env("RUST_TEST_THREADS", "4");
    if !arguments.brief {
        cargo.env("NETPOL_IMAGE", image::archive(&ready.ebpf)?);
    }
    if arguments.long {
        cargo.env("NETPOL_LONG", "1");
    }
    if arguments.brief {
        cargo.env("NETPOL_BRIEF", "1");
    }
    cargo.arg("--").args(&arguments.filter).args(combination.tests).arg("--include-ignored");
    if arguments.brief {
        cargo.args(LONG.iter().flat_map(|test| ["--skip", test]));
    }
    totals.on(&format!(", {}", combination.name()));
    let outcome = passed_on(&mut cargo, totals);
    totals.on("");
    outcome
}
