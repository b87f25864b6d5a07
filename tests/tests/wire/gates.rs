//! What becomes of the gate of a new interface when nobody comes to judge it, and when its index is given again.
//!
//! As long as a file cannot be read the agent judges nothing anew: gates stay as they are.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use netpol_tests::deadline::wait_for;
use netpol_tests::laboratory::network;
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{Laboratory, Namespace, Pod, PodSpec, Setup, serve};

use crate::setup::ALLOWED;

/// The index of the host's interface, which nothing else has.
const INDEX: u32 = 7000;
/// How long the agent may take to hear of what becomes of it.
const HEARD: Duration = Duration::from_secs(5);
/// A file that cannot be read.
const BROKEN: &str = "broken.yaml";

struct Scene {
    lab: Laboratory,
    pods: [Pod; 2],
}

impl Scene {
    /// An agent that follows interfaces and judges nothing.
    fn new() -> Result<Self> {
        let agent_flags = ["--sandbox-namespace", "npl-*-gated"].map(str::to_owned).to_vec();
        let mut lab = Laboratory::with(Setup { agent_flags, ..Setup::default() })?;
        lab.apply_file(BROKEN, "kind: [")?;
        let mut pod = || lab.prepare_pod(PodSpec::new("shop", "gated"));
        let pods = [pod()?, pod()?];
        lab.launch_agent()?;
        wait_for("the interfaces are listed", HEARD, || {
            let status = lab.agent().and_then(|agent| agent.status()).ok()?["notReady"].to_string();
            (status.contains(BROKEN) && !status.contains("interfaces")).then_some(())
        })?;
        Ok(Self { lab, pods })
    }

    fn connect(&self, pod: &Namespace) -> Result<()> {
        self.lab.node.batch(&format!(
            "link add gated0 index {INDEX} type veth peer name eth0 netns {}\n\
             address add 10.246.0.1/24 dev gated0\nlink set gated0 up\n",
            pod.name()
        ))?;
        pod.batch("address add 10.246.0.2/24 dev eth0\nlink set eth0 up\n")
    }

    fn gate(&self) -> PathBuf {
        self.lab.pins().join("gates").join(INDEX.to_string())
    }

    fn is_closed(&self) -> Result<()> {
        wait_for("the gate is closed", HEARD, || self.gate().exists().then_some(()))
    }

    fn is_open(&self) -> Result<()> {
        wait_for("there is no gate", HEARD, || (!self.gate().exists()).then_some(()))
    }
}

fn probes(pod: &Namespace) -> Vec<Probe> {
    Probe::all(pod, Kind::Tcp, &[([10, 246, 0, 1], ALLOWED).into()])
}

#[test]
#[ignore = "needs root and BPF"]
fn an_index_is_closed_again_although_nobody_heard_its_interface_go() -> Result<()> {
    let scene = Scene::new()?;
    let _echo = serve::tcp(&scene.lab.node, ALLOWED)?;
    let [first, second] = &scene.pods;
    scene.connect(first)?;
    scene.is_closed()?;
    expect_dropped(&probes(first))?;
    scene.lab.freeze_agent()?;
    // More than the kernel keeps for a reader that stands still.
    let turn = |mtu: u32| format!("link set {} mtu {mtu}\n", network::BRIDGE);
    scene.lab.node.batch(&(0..20_000).map(|i| turn(1400 + i % 2)).collect::<String>())?;
    scene.lab.node.batch("link delete gated0\n")?;
    scene.lab.thaw_agent()?;
    scene.is_open()?;
    scene.connect(second)?;
    scene.is_closed()?;
    expect_dropped(&probes(second))
}

#[test]
#[ignore = "needs root and BPF"]
fn what_an_earlier_agent_closed_is_opened_by_one_that_is_to_leave_it_alone() -> Result<()> {
    let mut scene = Scene::new()?;
    let _echo = serve::tcp(&scene.lab.node, ALLOWED)?;
    let pod = &scene.pods[0];
    scene.connect(pod)?;
    scene.is_closed()?;
    scene.lab.kill_agent();
    expect_dropped(&probes(pod))?;
    scene.lab.remove_file(BROKEN)?;
    scene.lab.call_agent_with(&["--exclude-interface", "gated0"]);
    scene.lab.start_agent()?;
    scene.is_open()?;
    // It asked in vain for the other end's hardware address.
    pod.batch("neighbour flush dev eth0\n")?;
    expect_reached(&probes(pod))
}
