//! What the agent says to the cluster beside enforcing: Events on what it cannot enforce, and the startup taint that it
//! takes off its node when it is ready. Both need an API server; neither is ever waited for.

mod events;
mod taint;

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
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
/// How often the node is looked at, whose taint may be put on again: whoever registers a node anew does.
const NODE: Duration = Duration::from_secs(30);
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
        let mut next = Instant::now();
        let mut pause = SOON;
        loop {
            tokio::time::sleep(pause.min(LATER)).await;
            let Some(status) = ask(&inputs, PATIENCE).await else { continue };
            let Some(key) = self.taint.as_deref() else {
                pause = LATER;
                events.say(&status).await;
                continue;
            };
            if status.ready && next <= Instant::now() {
                match taint::take_off(&client, &self.node, key).await {
                    Ok(taken) => {
                        if taken {
                            info!(key, "the agent is ready: the startup taint is off this node");
                        }
                        pause = NODE;
                    }
                    Err(error) => {
                        warn!(key, "cannot take the startup taint off this node: {error:#}");
                        pause = (pause * 2).min(NODE);
                    }
                }
                next = Instant::now() + pause;
            }
            events.say(&status).await;
        }
    }
}
