//! Leaves the laboratory up and says what can be done with it.

use std::fs;
use std::io::{IsTerminal as _, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use anyhow::{Context as _, Result};

use super::Networks;
use crate::stage::Family;

/// Waits for Enter, or for ever where there is no keyboard; Ctrl-C ends it in any case.
pub(crate) fn keep(networks: &Networks) -> Result<()> {
    let folder = networks.lab.folder();
    for pod in networks.lab.pods() {
        // What the demo's own clients get: the pod's network, and its name server in the place of the machine's.
        let mut binds = String::new();
        for (what, place) in networks.resolver(Family::V4) {
            binds.push_str(&format!("mount --bind {} {} && ", what.display(), place.display()));
        }
        let script = format!(
            "#!/bin/sh\nexec nsenter --net={} unshare --mount sh -c '{binds}exec \"$@\"' sh \"$@\"\n",
            pod.path().display()
        );
        let path = folder.join(format!("in-{}-{}", pod.spec.namespace, pod.spec.name));
        fs::write(&path, script).context("cannot write a script")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).context("cannot write a script")?;
    }
    println!("\nThe laboratory stays up. In another terminal:\n");
    if networks.lab.has_agent() {
        let agent = networks.lab.agent()?;
        let (netpol, socket) = (agent.binary.display(), agent.socket.display());
        println!("  {netpol} observe --follow --socket {socket}");
        println!("  {netpol} status --socket {socket}");
        println!("  {netpol} explain production/debug production/postgres 5432/TCP --socket {socket}");
        println!(
            "  ls {}    # every policy is in force; change, add or remove one",
            agent.manifests.display()
        );
    }
    let folder = folder.display();
    println!(
        "  {folder}/in-production-debug wget -qO- --timeout=3 --tries=1 http://api.production.svc:8080/health"
    );
    println!("  {folder}/in-production-frontend nslookup api.production.svc.cluster.local");
    println!("  {folder}/in-production-frontend sh    # a shell in a pod's network\n");
    if std::io::stdin().is_terminal() {
        println!("Enter or Ctrl-C takes it down.");
        // Whatever comes, the end of input too, is the answer.
        drop(std::io::stdin().read(&mut [0; 1]));
        return Ok(());
    }
    println!("Ctrl-C (SIGINT) or SIGTERM takes it down.");
    loop {
        thread::park();
    }
}
