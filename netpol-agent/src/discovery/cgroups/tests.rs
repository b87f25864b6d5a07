use super::*;

const UID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
const HASH: &str = "d41d8cd98f00b204e9800998ecf8427e";
const CONTAINER: &str = "7c1a5c4f2f6f4f0a9a1cf3b4f8a6c3f5d0f0d9d3e1b2c3d4e5f60718293a4b5c";

#[test]
fn containerd_with_cgroupfs() {
    for qos in ["", "burstable/", "besteffort/"] {
        let text = format!("0::/kubepods/{qos}pod{UID}/{CONTAINER}\n");
        assert_eq!(pods_of(&text), [UID], "{text}");
    }
}

#[test]
fn containerd_with_systemd() {
    let uid = UID.replace('-', "_");
    for qos in ["", "burstable-", "besteffort-"] {
        let parent = if qos.is_empty() {
            String::new()
        } else {
            format!("kubepods-{}.slice/", qos.trim_end_matches('-'))
        };
        let text = format!(
            "0::/kubepods.slice/{parent}kubepods-{qos}pod{uid}.slice/cri-containerd-{CONTAINER}.scope\n"
        );
        assert_eq!(pods_of(&text), [UID], "{text}");
    }
    let text = format!(
        "0::/system.slice/containerd.service/kubepods-burstable-pod{uid}.slice:cri-containerd:{CONTAINER}\n"
    );
    assert_eq!(pods_of(&text), [UID], "a runtime outside systemd");
}

#[test]
fn crio_with_either() {
    let uid = UID.replace('-', "_");
    let systemd = format!(
        "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{uid}.slice/crio-{CONTAINER}.scope\n"
    );
    assert_eq!(pods_of(&systemd), [UID]);
    let nested = format!("0::/kubepods.slice/kubepods-pod{uid}.slice/crio-{CONTAINER}.scope/container\n");
    assert_eq!(pods_of(&nested), [UID], "a systemd container has a cgroup of its own below");
    assert_eq!(pods_of(&format!("0::/kubepods/besteffort/pod{UID}/crio-{CONTAINER}\n")), [UID]);
}

#[test]
fn version_1_and_both_together() {
    let text = format!(
        "12:pids:/kubepods/besteffort/pod{UID}/{CONTAINER}\n\
         4:memory:/kubepods/besteffort/pod{UID}/{CONTAINER}\n\
         1:name=systemd:/kubepods/besteffort/pod{UID}/{CONTAINER}\n\
         0::/system.slice/containerd.service\n"
    );
    assert_eq!(pods_of(&text), [UID]);
    assert_eq!(
        pods_of(&format!("3:cpu,cpuacct:/\n2:name=systemd:/kubepods/pod{UID}/{CONTAINER}\n0::/\n")),
        [UID]
    );
}

#[test]
fn a_static_pod_has_a_hash() {
    assert_eq!(pods_of(&format!("0::/kubepods/burstable/pod{HASH}/{CONTAINER}\n")), [HASH]);
    let slice = format!(
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{HASH}.slice/cri-containerd-{CONTAINER}.scope\n"
    );
    assert_eq!(pods_of(&slice), [HASH]);
}

#[test]
fn a_root_of_ones_own_and_a_cluster_within_a_pod() {
    let other = "11111111-2222-4333-8444-555555555555";
    let kind = format!(
        "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{}.slice/cri-containerd-{CONTAINER}.scope\n",
        UID.replace('-', "_")
    );
    assert_eq!(pods_of(&kind), [UID]);
    let inside =
        format!("0::/kubepods/pod{other}/{CONTAINER}/kubelet/kubepods/besteffort/pod{UID}/{CONTAINER}\n");
    assert_eq!(
        pods_of(&inside),
        [other, UID],
        "the outermost first: a pod may name what it likes below itself"
    );
    // Seen from a cgroup namespace: what lies outside of it begins with dots.
    assert_eq!(pods_of(&format!("0::/../../../besteffort/pod{UID}/{CONTAINER}\n")), [UID]);
}

#[test]
fn what_is_no_pod() {
    for text in [
        "",
        "0::/\n",
        "0::/user.slice/user-1000.slice/session-2.scope\n",
        "0::/system.slice/podman.service\n",
        "0::/kubepods/besteffort\n",
        "0::/kubepods/pod\n",
        "0::/kubepods/podnouid/x\n",
        "0::/machine.slice/libpod-0f8fad5bd9cb469fa16570867728950e0f8fad5bd9cb469fa16570867728950e.scope\n",
        "nonsense",
    ] {
        assert!(pods_of(text).is_empty(), "{text}");
    }
}

#[test]
fn processes_of_one_namespace_must_agree() {
    let uids = |text: &str| text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
    assert_eq!(common(&[uids("a"), uids("a")]), ["a"]);
    assert_eq!(
        common(&[uids("a b"), uids("a"), uids("a c")]),
        ["a"],
        "what a pod runs within itself is the pod's"
    );
    assert!(common(&[uids("a"), uids("b")]).is_empty());
    assert!(common(&[]).is_empty());
}

#[test]
fn processes_without_a_pod_are_left_out() {
    let proc = tempfile::tempdir().unwrap();
    let process = |pid: &str, text: &str| {
        fs::create_dir(proc.path().join(pid)).unwrap();
        fs::write(proc.path().join(pid).join("cgroup"), text).unwrap();
    };
    process("12", &format!("0::/kubepods/pod{UID}/{CONTAINER}\n"));
    process("13", "0::/system.slice/sshd.service\n");
    process("self", &format!("0::/kubepods/pod{UID}/{CONTAINER}\n"));
    fs::create_dir(proc.path().join("14")).unwrap();
    assert_eq!(processes(proc.path()), [(12, vec![UID.to_owned()])]);
    assert!(processes(Path::new("/nowhere/at/all")).is_empty());
}
