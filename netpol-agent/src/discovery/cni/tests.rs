use std::{fs, path::Path};

use serde_json::json;

use super::*;

fn file() -> Value {
    json!({
        "kind": "cniCacheV1", "containerId": "abc", "ifName": "eth0", "networkName": "lab", "config": "e30=",
        "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "production"], ["K8S_POD_NAME", "api"], ["K8S_POD_UID", "u1"]],
        "result": {
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": "cni0", "mac": "aa:aa:aa:aa:aa:aa"},
                {"name": "veth1", "mac": "bb:bb:bb:bb:bb:bb"},
                {"name": "eth0", "mac": "02:00:00:00:00:05", "sandbox": "/run/netns/cni-1"}
            ],
            "ips": [{"address": "10.0.0.5/24", "interface": 2}, {"address": "fd00::5/64", "interface": 2}, {"address": "10.0.0.1/24", "interface": 0}],
        }
    })
}

#[test]
fn an_entry_names_the_pod_its_addresses_and_the_hosts_interfaces() {
    let entry = parse(file().to_string().as_bytes()).unwrap();
    assert_eq!((entry.pod.to_string().as_str(), entry.uid.as_str()), ("production/api", "u1"));
    assert_eq!(entry.host_interfaces, ["cni0", "veth1"]);
    assert_eq!(entry.addresses, ["10.0.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
    assert_eq!(entry.hardware, Some([2, 0, 0, 0, 0, 5]));
    assert_eq!((entry.inside.as_str(), entry.plugin.as_str()), ("eth0", ""));
}

#[test]
fn the_loopback_of_a_sandbox_is_no_network_of_its_pod() {
    let mut file = file();
    file["ifName"] = json!("lo");
    file["result"] = json!({"interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": "/run/netns/cni-1"}],
        "ips": [{"address": "127.0.0.1/8", "interface": 0}]});
    assert!(matches!(parse(file.to_string().as_bytes()), Err(CacheError::Loopback)));
}

#[test]
fn a_result_that_is_kept_as_text_is_read_too() {
    let mut file = file();
    file["result"] = json!(file["result"].to_string());
    assert_eq!(parse(file.to_string().as_bytes()).unwrap().host_interfaces, ["cni0", "veth1"]);
}

#[test]
fn what_is_not_of_a_pod_or_not_of_libcni_is_refused() {
    let mut other = file();
    other["cniArgs"] = json!([]);
    assert!(matches!(parse(other.to_string().as_bytes()), Err(CacheError::NoPod)));
    assert!(matches!(parse(b"{}"), Err(CacheError::Kind(_))));
    assert!(matches!(parse(b"{"), Err(CacheError::Parse(_))));
}

#[test]
fn the_plugin_is_named_by_the_configuration() {
    let of = |config: &str| {
        let mut file = file();
        file["config"] = json!(BASE64_STANDARD.encode(config));
        parse(file.to_string().as_bytes()).unwrap().plugin
    };
    assert_eq!(
        of(r#"{"name":"lab","plugins":[{"type":"macvlan","master":"eth0"},{"type":"tuning"}]}"#),
        "macvlan"
    );
    assert_eq!(of(r#"{"name":"lab","type":"sriov"}"#), "sriov");
    assert_eq!(of("no configuration"), "");
}

#[test]
fn the_namespace_is_said_beside_a_result_that_names_none() {
    let mut file = file();
    // As Calico answers.
    file["netns"] = json!("/var/run/netns/cni-2");
    file["result"] = json!({"interfaces": [{"name": "cali1"}], "ips": [{"address": "10.0.0.5/32"}]});
    let entry = parse(file.to_string().as_bytes()).unwrap();
    assert_eq!(entry.namespace, Some(PathBuf::from("/var/run/netns/cni-2")));
    assert_eq!((entry.host_interfaces, entry.addresses.len()), (vec!["cali1".to_owned()], 1));
}

fn said(cache: &Cache) -> [usize; 2] {
    [cache.entries().len(), cache.problems().count()]
}

#[test]
fn a_file_that_is_being_written_keeps_what_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lab-abc-eth0");
    fs::write(&path, file().to_string()).unwrap();
    let mut cache = Cache::default();
    cache.read(dir.path());
    assert_eq!(said(&cache), [1, 0]);
    fs::write(&path, "{\"kind\":").unwrap();
    cache.read_file(&path);
    assert_eq!(said(&cache), [1, 1]);
    cache.read(dir.path());
    assert_eq!(said(&cache), [1, 1], "also when nothing has changed since");
    fs::remove_file(&path).unwrap();
    cache.read_file(&path);
    assert_eq!(said(&cache), [0, 0]);
}

#[test]
fn what_is_gone_or_new_is_found_by_looking_through_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::default();
    cache.read(Path::new("/nowhere/at/all"));
    assert_eq!(said(&cache), [0, 0]);
    fs::write(dir.path().join("a"), file().to_string()).unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    cache.read(dir.path());
    assert_eq!(said(&cache), [1, 0]);
    let mut other = file();
    other["cniArgs"] = json!([]);
    fs::write(dir.path().join("of-no-pod"), other.to_string()).unwrap();
    fs::remove_file(dir.path().join("a")).unwrap();
    cache.read(dir.path());
    assert_eq!(said(&cache), [0, 0]);
    cache.read(Path::new("/nowhere/at/all"));
    assert_eq!(said(&cache), [0, 0]);
}

#[test]
fn hardware_addresses_have_six_bytes() {
    assert_eq!(hardware_of("02:00:00:00:00:ff"), Some([2, 0, 0, 0, 0, 255]));
    assert_eq!(hardware_of("02:00:00:00:00"), None);
    assert_eq!(hardware_of("02:00:00:00:00:00:00"), None);
    assert_eq!(hardware_of(""), None);
}
