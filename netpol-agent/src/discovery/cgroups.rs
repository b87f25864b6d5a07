//! Which pod a process is of, by the path of its cgroup. Any process's may be read by everybody.
//!
//! The kubelet makes a cgroup for each pod: `kubepods[/burstable|/besteffort]/podUID` with the driver cgroupfs,
//! `kubepods[-burstable|-besteffort]-podUID.slice` with systemd's, where the UID's dashes are underscores; both below a
//! root of its own choice. The UID of a static pod is the hash of its manifest.

use std::{fs, path::Path};

/// The UIDs of the pods whose cgroups a process is in, the outermost first, from the text of `/proc/PID/cgroup`.
///
/// A cluster within a pod of another one nests them, and so may a pod that owns its cgroups: whoever looks one up
/// takes the first that is a pod of this cluster.
#[must_use]
pub fn pods_of(text: &str) -> Vec<String> {
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    // With several hierarchies, not every controller's need name the pod.
    paths.map(pods_of_path).find(|uids| !uids.is_empty()).unwrap_or_default()
}

fn pods_of_path(path: &str) -> Vec<String> {
    let mut uids = Vec::new();
    // A runtime that is told of systemd but does not run under it writes `SLICE:PREFIX:CONTAINER`.
    for part in path.split(['/', ':']) {
        let name = part.strip_suffix(".slice").unwrap_or(part);
        let uid = match name.strip_prefix("pod") {
            Some(uid) => uid,
            None if name.contains("kubepods-") => name.rsplit_once("-pod").map_or("", |(_, uid)| uid),
            None => "",
        };
        let uid = uid.replace('_', "-");
        if is_uid(&uid) && !uids.contains(&uid) {
            uids.push(uid);
        }
    }
    uids
}

/// A UUID, or the hash that stands for a static pod's.
fn is_uid(text: &str) -> bool {
    let is_hex =
        |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split('-').collect();
    match parts[..] {
        [hash] => is_hex(hash, 32),
        [a, b, c, d, e] => is_hex(a, 8) && [b, c, d].iter().all(|part| is_hex(part, 4)) && is_hex(e, 12),
        _ => false,
    }
}

/// What all processes of a namespace have in common, from what [`pods_of`] says of each; nothing when they are of several
/// pods, and nobody can say whose the namespace is.
#[must_use]
pub fn common(processes: &[Vec<String>]) -> Vec<String> {
    let Some((first, others)) = processes.split_first() else { return Vec::new() };
    let shared = |other: &Vec<String>| first.iter().zip(other).take_while(|(a, b)| a == b).count();
    let length = others.iter().map(shared).min().unwrap_or(first.len());
    first.iter().take(length).cloned().collect()
}

/// Every process that is in a pod's cgroup, with what [`pods_of`] says of it.
#[must_use]
pub fn processes(proc: &Path) -> Vec<(u32, Vec<String>)> {
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|pid: u32| {
            // One that has just ended is of no pod.
            let text = fs::read_to_string(proc.join(pid.to_string()).join("cgroup")).ok()?;
            Some((pid, pods_of(&text))).filter(|(_, uids)| !uids.is_empty())
        })
        .collect()
}

#[cfg(test)]
mod tests;
