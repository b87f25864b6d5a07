//! The agent ends and comes back to what has changed; and goes without a trace. What lives through that is in `alive`.

use std::time::Duration;

use anyhow::{Result, anyhow};
use netpol_tests::probe::{ARRIVAL_PATIENCE, exchange, expect_dropped, expect_reached};
use netpol_tests::{Link, Outcome, Setup};

use crate::setup::{ALLOWED, OTHER, Three, from_client, ingress_of_server};

/// A laboratory whose agent attaches filters of clsact, as it does on kernels before 6.6.
pub(crate) fn with_filters() -> Setup {
    Setup { agent_flags: ["--attach", "filter"].map(str::to_owned).to_vec(), ..Setup::default() }
}

#[test]
#[ignore = "needs root and BPF"]
fn enforcement_goes_on_without_the_agent() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    let denied = three.all_protocols(&three.stranger, ALLOWED);
    expect_reached(&denied)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    three.lab.kill_agent();
    expect_reached(&three.all_protocols(&three.client, ALLOWED))?;
    expect_dropped(&denied)?;
    expect_dropped(&three.all_protocols(&three.client, OTHER))?;
    // What changed meanwhile is in force when the agent is back.
    three.lab.delete_policy("shop", "server")?;
    three.lab.start_agent()?;
    expect_reached(&denied)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_change_while_the_agent_was_away_reaches_open_connections() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let mut streams = Vec::new();
    for to in three.server.sockets(ALLOWED) {
        let stream = three.client.connect(to, ARRIVAL_PATIENCE);
        streams.push(stream.map_err(|outcome| anyhow!("cannot connect to {to}: {outcome:?}"))?);
    }
    three.lab.kill_agent();
    three.lab.relabel("shop/client", &[("app", "retired")])?;
    three.lab.start_agent()?;
    for stream in &mut streams {
        assert_eq!(exchange(stream, Duration::from_secs(1)), Outcome::TimedOut);
    }
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn uninstall_leaves_nothing() -> Result<()> {
    uninstall(Setup::default())
}

#[test]
#[ignore = "needs root and BPF"]
fn uninstall_leaves_no_filter() -> Result<()> {
    uninstall(with_filters())
}

fn uninstall(setup: Setup) -> Result<()> {
    let filters = !setup.agent_flags.is_empty();
    let mut three = Three::with(setup)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let denied = three.all_protocols(&three.stranger, ALLOWED);
    expect_dropped(&denied)?;
    let links = std::fs::read_dir(three.lab.pins().join("links"))?.count();
    assert_eq!(links == 0, filters, "filters have no pins, links have");
    three.lab.stop_agent()?;
    expect_dropped(&denied)?;

    three.lab.uninstall_agent()?;
    // At once: no packet meets an entry whose classifier is gone.
    expect_reached(&denied)?;
    assert!(!three.lab.pins().exists(), "the folder of pins is gone");
    // A second time there is nothing to do.
    three.lab.uninstall_agent()
}
