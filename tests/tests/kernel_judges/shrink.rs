//! The smallest cluster on which two judges still disagree.

pub(crate) mod history;

use std::sync::Arc;

use netpol_policy::model::Object;
use netpol_tests::kernel::{Kernel, sizes};

use crate::{
    case::Case,
    cluster::Cluster,
    compiled::Compiled,
    sight::Sight,
    walk::{Disagreement, judge_places},
};

/// Removes objects, and parts of policies, while a compiler that starts from nothing still disagrees. `None` when it
/// does not on the whole cluster.
pub(crate) fn shrink(cluster: Cluster, case: Case, with_kernel: bool) -> Option<(Cluster, Disagreement)> {
    let anew = |cluster: &Cluster| disagreement(&mut Compiled::of(cluster, None), cluster, case);
    if anew(&cluster).is_some() || !with_kernel {
        return smallest(cluster, anew);
    }
    // It is the programs that disagree. Loading them takes long, so one compiler tries all clusters.
    let mut compiled = Compiled::new(Some(Kernel::load(sizes())));
    smallest(cluster, |cluster| {
        compiled.turn_into(cluster);
        disagreement(&mut compiled, cluster, case)
    })
}

fn smallest(
    mut cluster: Cluster,
    mut disagreement: impl FnMut(&Cluster) -> Option<Disagreement>,
) -> Option<(Cluster, Disagreement)> {
    let mut found = disagreement(&cluster)?;
    let mut changed = true;
    while changed {
        changed = false;
        for smaller in smaller(&cluster) {
            if let Some(disagreement) = disagreement(&smaller) {
                (cluster, found, changed) = (smaller, disagreement, true);
                break;
            }
        }
    }
    Some((cluster, found))
}

fn disagreement(compiled: &mut Compiled, cluster: &Cluster, case: Case) -> Option<Disagreement> {
    let sight = Sight::new(cluster, Vec::new(), compiled);
    judge_places(&sight, compiled, case).err()
}

/// The cluster with one thing less.
pub(crate) fn smaller(cluster: &Cluster) -> Vec<Cluster> {
    let mut all = Vec::new();
    let mut with = |at: usize, object: Option<Object>| {
        let mut smaller = cluster.clone();
        match object {
            Some(object) => smaller.objects[at] = object,
            None => drop(smaller.objects.remove(at)),
        }
        all.push(smaller);
    };
    for at in 0..cluster.objects.len() {
        with(at, None);
    }
    for (at, object) in cluster.objects.iter().enumerate() {
        match object {
            Object::Policy(policy) => {
                for smaller in smaller_policies(policy) {
                    with(at, Some(Object::Policy(smaller)));
                }
            }
            Object::Pod(pod) => {
                for n in 0..pod.named_ports.len() {
                    let mut pod = pod.clone();
                    let mut ports = pod.named_ports.to_vec();
                    ports.remove(n);
                    pod.named_ports = ports.into();
                    with(at, Some(Object::Pod(pod)));
                }
                for key in pod.labels.keys() {
                    let mut pod = pod.clone();
                    Arc::make_mut(&mut pod.labels).remove(key);
                    with(at, Some(Object::Pod(pod)));
                }
            }
            _ => {}
        }
    }
    all
}

fn smaller_policies(policy: &netpol_policy::model::Policy) -> Vec<netpol_policy::model::Policy> {
    let mut all = Vec::new();
    for direction in 0..2 {
        let Some(rules) = &policy.rules[direction] else { continue };
        let mut with = |rules| {
            let mut smaller = policy.clone();
            smaller.rules[direction] = rules;
            all.push(smaller);
        };
        with(None);
        for n in 0..rules.len() {
            let mut fewer = rules.clone();
            fewer.remove(n);
            with(Some(fewer));
            // A list without items says something else.
            for item in 0..rules[n].peers.as_ref().filter(|peers| peers.len() > 1).map_or(0, Vec::len) {
                let mut fewer = rules.clone();
                fewer[n].peers.as_mut().map(|peers| peers.remove(item));
                with(Some(fewer));
            }
            for item in 0..rules[n].ports.as_ref().filter(|ports| ports.len() > 1).map_or(0, Vec::len) {
                let mut fewer = rules.clone();
                fewer[n].ports.as_mut().map(|ports| ports.remove(item));
                with(Some(fewer));
            }
        }
    }
    all
}
