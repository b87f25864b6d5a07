//! Leaves the example on the cluster and says what can be done with it.

use std::io::{IsTerminal as _, Read as _};
use std::thread;

use netpol_tests::cluster::Cluster;

/// Waits for Enter, or for ever where there is no keyboard; Ctrl-C ends it in any case.
pub(crate) fn keep(cluster: &Cluster) {
    let name = match cluster.name() {
        "default" => String::new(),
        name => format!(" --name {name}"),
    };
    println!("\nThe example and the agents stay, every policy in force. In another terminal:\n");
    let kubectl = format!("  cargo xtask cluster kubectl{name}");
    println!("{kubectl} get pods,netpol,svc -n production -o wide");
    println!(
        "{kubectl} exec -n production debug -- wget -qO- --timeout=3 http://api.production.svc:8080/health"
    );
    println!("{kubectl} exec -n production frontend -- nslookup api.production.svc.cluster.local");
    for node in cluster.nodes() {
        println!("  cargo xtask cluster netpol{name} --node {} status", node.name());
    }
    let netpol = format!("  cargo xtask cluster netpol{name}");
    println!("{netpol} observe --follow -o wide");
    println!("{netpol} explain production/frontend production/api 8080/TCP");
    println!("{netpol} explain --all production");
    if std::io::stdin().is_terminal() {
        println!("\nEnter or Ctrl-C takes it down.");
        // Whatever comes, the end of input too, is the answer.
        drop(std::io::stdin().read(&mut [0; 1]));
        return;
    }
    println!("\nCtrl-C (SIGINT) or SIGTERM takes it down.");
    loop {
        thread::park();
    }
}
