//! Several pods that start at the same time, each in the order of a container runtime: the sandbox is there, its
//! interfaces come, its addresses, libcni's file when the plugin returns, and the first instruction of a container after
//! some more processes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use super::{Laboratory, Link, Namespace, Pod, cache_name, network};

/// From the plugin's return to the first instruction of the first container: 180 to 210 ms on a quiet node of two CPUs
/// with containerd 1.6, where a busy one took a second.
const LAUNCH: Duration = Duration::from_millis(180);
/// Processes that a runtime runs for that, one after the other: its shim, and itself to make and to start the sandbox and
/// the container. On a busy machine they take their time here, too.
const PROCESSES: usize = 5;

/// When a pod came to life.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Its interfaces began to be made.
    pub begun: Instant,
    /// Its plugin returned: its interfaces are complete, and libcni's cache names them.
    pub returned: Instant,
    /// The first instruction of its first container.
    pub first: Instant,
}

impl Laboratory {
    /// Gives prepared pods their interfaces, all at once, and names each in libcni's cache when its own are complete.
    /// Returns when each has come to its first instruction.
    ///
    /// # Errors
    /// When some cannot be made.
    pub fn connect_together(&mut self, pods: &[Pod]) -> Result<Vec<Start>> {
        let place =
            Place { node: &self.node, link: self.link, cache: &self.cni_cache(), drafts: &self.drafts() };
        let named: Vec<_> = pods.iter().map(|pod| (pod, self.cni_result(pod))).collect();
        let started: Result<Vec<Start>> = thread::scope(|scope| {
            let place = &place;
            let connecting: Vec<_> =
                named.iter().map(|(pod, result)| scope.spawn(move || place.connect(pod, result))).collect();
            let ends = connecting.into_iter().map(thread::ScopedJoinHandle::join);
            ends.map(|end| end.map_err(|_| anyhow!("a thread that connects a pod panicked"))?).collect()
        });
        self.pods.extend(pods.iter().map(|pod| (pod.key(), pod.clone())));
        self.translate_services()?;
        started
    }
}

/// Where pods are connected.
struct Place<'a> {
    node: &'a Namespace,
    link: Link,
    cache: &'a Path,
    drafts: &'a Path,
}

impl Place<'_> {
    fn connect(&self, pod: &Pod, result: &Value) -> Result<Start> {
        let begun = Instant::now();
        network::wire_pod(self.node, pod, self.link)?;
        let name = cache_name(pod);
        let draft = self.drafts.join(&name);
        let path = self.cache.join(&name);
        fs::write(&draft, serde_json::to_vec(result)?)
            .and_then(|()| fs::rename(&draft, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let returned = Instant::now();
        thread::sleep(LAUNCH);
        for _ in 0..PROCESSES {
            Command::new("true").status().context("cannot run true")?;
        }
        Ok(Start { begun, returned, first: Instant::now() })
    }
}
