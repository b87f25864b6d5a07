//! Several pods that start at the same time, each in the order of a container runtime: the sandbox is there, its
//! interfaces come, its addresses, and libcni's file when the plugin returns.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use super::{Laboratory, Link, Namespace, Pod, cache_name, network};

impl Laboratory {
    /// Gives prepared pods their interfaces, all at once, and names each in libcni's cache when its own are complete.
    /// Says for each when its interfaces began to be made.
    ///
    /// # Errors
    /// When some cannot be made.
    pub fn connect_together(&mut self, pods: &[Pod]) -> Result<Vec<Instant>> {
        let place =
            Place { node: &self.node, link: self.link, cache: &self.cni_cache(), drafts: &self.drafts() };
        let named: Vec<_> = pods.iter().map(|pod| (pod, self.cni_result(pod))).collect();
        let begun: Result<Vec<Instant>> = thread::scope(|scope| {
            let place = &place;
            let connecting: Vec<_> =
                named.iter().map(|(pod, result)| scope.spawn(move || place.connect(pod, result))).collect();
            let ends = connecting.into_iter().map(thread::ScopedJoinHandle::join);
            ends.map(|end| end.map_err(|_| anyhow!("a thread that connects a pod panicked"))?).collect()
        });
        self.pods.extend(pods.iter().map(|pod| (pod.key(), pod.clone())));
        self.translate_services()?;
        begun
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
    fn connect(&self, pod: &Pod, result: &Value) -> Result<Instant> {
        let begun = Instant::now();
        network::wire_pod(self.node, pod, self.link)?;
        let name = cache_name(pod);
        let draft = self.drafts.join(&name);
        let path = self.cache.join(&name);
        fs::write(&draft, serde_json::to_vec(result)?)
            .and_then(|()| fs::rename(&draft, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(begun)
    }
}
