//! What a cluster's parts are doing.

use std::process::ExitCode;

use anyhow::Result;
use netpol_tests::cluster::{Cluster, Foreign, NodePart, Part, PartHandle, up};

/// Shows the parts; fails when the cluster is not up.
pub(crate) fn show(name: &str) -> Result<ExitCode> {
    if let Some(foreign) = Foreign::named(name)? {
        println!("cluster {name}: not made here, kubeconfig {}", foreign.kubeconfig().display());
        print!("{}", foreign.kubectl(&["version"])?);
        print!("{}", foreign.kubectl(&["get", "nodes,pods", "--all-namespaces", "--output=wide"])?);
        return Ok(ExitCode::SUCCESS);
    }
    let cluster = match Cluster::named(name) {
        Ok(cluster) => cluster,
        Err(error) => {
            println!("{error:#}");
            for (other, alive) in up::all() {
                println!(
                    "cluster {other}: {}",
                    if alive { "alive" } else { "dead, `down` removes what is left" }
                );
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    println!("cluster {name}: {}", cluster.options());
    println!("kubeconfig {} (for programs in its networks)", cluster.kubeconfig().display());
    println!("control plane, {}", cluster.url());
    for part in Part::ALL {
        line(&cluster.part(part));
    }
    for node in cluster.nodes() {
        let addresses: Vec<String> = node.addresses().iter().map(ToString::to_string).collect();
        println!("{}, {}", node.name(), addresses.join(" "));
        for part in NodePart::ALL {
            line(&node.part(part));
        }
    }
    print!("{}", cluster.kubectl(&["get", "nodes,pods", "--all-namespaces", "--output=wide"])?);
    Ok(ExitCode::SUCCESS)
}

fn line(part: &PartHandle) {
    let state = part.pid().map_or_else(|| "ENDED".to_owned(), |pid| format!("process {pid}"));
    println!("  {:24} {state:16} {}", part.name(), part.log_file().display());
}
