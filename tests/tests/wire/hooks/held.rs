//! What holds the classifiers of a pod that starts while the agent runs.

use std::time::Duration;

use anyhow::{Result, ensure};
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::steady::{Denied, Steady};
use netpol_tests::{Laboratory, Pod, PodSpec, Setup, eventually};

use super::{by_filters, by_links, isolated, status};
use crate::setup::{ALLOWED, Listening};

/// How long it may take after the last start.
const TAKEN_OVER: Duration = Duration::from_secs(10);

/// Classifiers of both directions that filters hold, and that links hold.
type Held = [[usize; 2]; 2];
const BY_FILTERS: Held = [[1, 1], [0, 0]];
const BY_LINKS: Held = [[0, 0], [1, 1]];

fn held(lab: &Laboratory, pod: &Pod) -> Result<Held> {
    Ok([by_filters(lab, pod)?, by_links(lab, pod)?])
}

#[test]
#[ignore = "needs root and BPF"]
fn filters_hold_the_classifiers_of_a_new_pod_until_nothing_starts_and_then_links() -> Result<()> {
    let agent_flags = ["--sandbox-namespace", "npl-*-late*"].map(str::to_owned).to_vec();
    let mut three = isolated(Setup { agent_flags, ..Setup::default() })?;
    assert_eq!(held(&three.lab, &three.server)?, BY_LINKS, "it was there before the agent");
    let late = |name: &str| PodSpec::new("shop", name).label("app", "server");

    let first = three.lab.add_pod(late("late-first"))?;
    three.lab.settle()?;
    assert_eq!(held(&three.lab, &first)?, BY_FILTERS);
    let listening = Listening::on(&first, ALLOWED)?;
    let to = first.sockets(ALLOWED);
    let mut steady = Steady::start(&three.client, &to, vec![Denied::of(&three.stranger, &to)])?;
    let heard = listening.udp.heard();
    eventually("links hold them", TAKEN_OVER, &BY_LINKS, || held(&three.lab, &first).unwrap_or_default())?;
    steady.goes_on()?;
    let carried = steady.stop()?;
    ensure!(carried.probes > 0 && listening.udp.heard() == heard, "a denied datagram was heard: {carried:?}");

    // An agent that comes back does not leave what filters hold.
    let second = three.lab.add_pod(late("late-second"))?;
    three.lab.settle()?;
    assert_eq!(held(&three.lab, &second)?, BY_FILTERS);
    let _listening = Listening::on(&second, ALLOWED)?;
    three.lab.kill_agent();
    three.lab.start_agent()?;
    eventually("links hold them", TAKEN_OVER, &BY_LINKS, || held(&three.lab, &second).unwrap_or_default())?;

    let said = status(&three.lab)?;
    assert_eq!((&said["hooksRepaired"], &said["ready"]), (&0.into(), &true.into()), "{said:#}");
    let probes = [to, second.sockets(ALLOWED)].concat();
    expect_dropped(&Probe::all(&three.stranger, Kind::Tcp, &probes))?;
    expect_reached(&Probe::all(&three.client, Kind::Tcp, &probes))?;
    three.no_policy("server")?;
    expect_reached(&Probe::all(&three.stranger, Kind::Tcp, &probes))
}
