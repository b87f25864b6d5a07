//! What the agent says to the cluster beside enforcing: Events on what it cannot enforce, and the startup taint that it
//! takes off its node when it is ready. Both need an API server; neither is ever waited for.

mod events;
mod taint;

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use tracing::{info, warn};

use crate::{
    metrics::ask,
    reconcile::Input,
    sources::api::{Access, client},
};

/// How often the agent's status is looked at until the node's taint is off.
const SOON: Duration = Duration::from_millis(250);
/// How often afterwards.
const LATER: Duration = Duration::from_secs(5);
/// Looks between two at the node, whose taint may be put on again: whoever registers a node anew does.
const NODE_LOOKS: u32 = 6;
/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is said, and where.
#[derive(Clone, Debug)]
pub struct Announcer {
    /// The way to the API server.
    pub access: Access,
    /// This node's name.
    pub node: String,
    /// The key of the startup taint.
    pub taint: Option<String>,
}

impl Announcer {
    /// Speaks as long as the agent runs.
    pub async fn run(self, inputs: mpsc::Sender<Input>) {
        let client = match client(&self.access).await {
            Ok(client) => client,
            Err(error) => {
                warn!("nothing is announced to the cluster: {error:#}");
                return;
            }
        };
        let client = Arc::new(client);
        let mut events = events::Events::new(client.clone(), &self.node);
        let mut looks = 0;
        // Without a taint there is none to take off.
        let mut tainted = self.taint.is_some();
        loop {
            tokio::time::sleep(if tainted { SOON } else { LATER }).await;
            let Some(status) = ask(&inputs, PATIENCE).await else { continue };
            if let Some(key) = self.taint.as_deref().filter(|_| status.ready && looks % NODE_LOOKS == 0) {
                match taint::take_off(&client, &self.node, key).await {
                    Ok(taken) => {
                        if taken {
                            info!(key, "the agent is ready: the startup taint is off this node");
                        }
                        tainted = false;
                    }
                    Err(error) => warn!(key, "cannot take the startup taint off this node: {error:#}"),
                }
            }
            if !tainted {
                looks += 1;
                events.say(&status).await;
            }
        }
    }
}
