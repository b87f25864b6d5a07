//! Agents that are replaced as the DaemonSet does it.

use anyhow::{Result, ensure};
use netpol_tests::{cluster, deploy};

use super::Alive;
use crate::deployed::Deployed;

/// The processes of the other tests give way to the pods of the DaemonSet, which are replaced node by node.
#[test]
#[ignore = "needs a cluster"]
fn a_rolling_update_of_the_daemonset_breaks_nothing_and_lets_nothing_pass() -> Result<()> {
    let _guard = cluster::exclusive();
    let alive = Alive::build("rolling")?;
    let cluster = alive.scene.cluster.clone();
    let mut deployed = None;
    alive.through("rolling update of the DaemonSet", |alive| {
        for node in alive.nodes() {
            alive.scene.agents.kill(&node)?;
        }
        let deployed = deployed.insert(Deployed::over(&cluster, deploy::kustomized(&deploy::folder())?)?);
        alive.goes_on()?;
        let before = deployed.pods()?;
        cluster.kubectl(&["rollout", "restart", "daemonset/netpol-agent", "-n", "kube-system"])?;
        deployed.ready()?;
        let after = deployed.pods()?;
        ensure!(after.len() == 2 && after.iter().all(|pod| !before.contains(pod)), "{before:?} {after:?}");
        Ok(())
    })
}
