//! Leaves the example on the cluster and says what can be done with it.

use std::io::{IsTerminal as _, Read as _};
use std::thread;

/// Waits for Enter, or for ever where there is no keyboard; Ctrl-C ends it in any case.
pub(crate) fn keep() {
    println!("\nThe example and the agents stay, every policy in force. In another terminal:\n");
    println!("  cargo xtask cluster kubectl get pods,netpol,svc -n production -o wide");
    println!(
        "  cargo xtask cluster kubectl exec -n production debug -- wget -qO- --timeout=3 http://api.production.svc:8080/health"
    );
    println!(
        "  cargo xtask cluster kubectl exec -n production frontend -- nslookup api.production.svc.cluster.local"
    );
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
