//! Two agents at once on a node: the second one is told, and the first one goes on.

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster;

use super::Alive;
use crate::held::Held;

#[test]
#[ignore = "needs a cluster"]
fn a_second_agent_on_a_node_is_refused_and_changes_nothing() -> Result<()> {
    let _guard = cluster::exclusive();
    Alive::build("two")?.through("two agents at once", |alive| {
        let agents = alive.scene.agents.clone();
        for node in alive.nodes() {
            let (before, first) = (Held::of(&node)?, agents.part(&node).pid());
            for mut second in [
                agents.another(&node, &[])?,
                agents.another(&node, &["--socket", "/run/netpol/second.sock"])?,
                agents.client(&node, &["agent", "--uninstall"])?,
            ] {
                let output = second.output().context("cannot start netpol")?;
                let said = String::from_utf8_lossy(&output.stderr);
                ensure!(!output.status.success(), "it has started");
                ensure!(said.contains("another agent works on the pins in"), "{said}");
                alive.goes_on()?;
            }
            ensure!(first.is_some() && agents.part(&node).pid() == first, "the first one has ended");
            ensure!(Held::of(&node)?.is_within(&before), "something was left");
        }
        Ok(())
    })
}
