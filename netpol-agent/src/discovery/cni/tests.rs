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
fn a_file_that_is_being_written_keeps_what_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lab-abc-eth0");
    fs::write(&path, file().to_string()).unwrap();
    let mut cache = Cache::default();
    assert!(cache.read(dir.path()).is_empty());
    fs::write(&path, "{\"kind\":").unwrap();
    assert_eq!(cache.read(dir.path()).len(), 1);
    assert_eq!(cache.entries().count(), 1);
    fs::remove_file(&path).unwrap();
    assert!(cache.read(dir.path()).is_empty());
    assert_eq!(cache.entries().count(), 0);
}

#[test]
fn without_a_folder_there_are_no_pods() {
    let mut cache = Cache::default();
    assert!(cache.read(Path::new("/nowhere/at/all")).is_empty());
}

#[test]
fn hardware_addresses_have_six_bytes() {
    assert_eq!(hardware_of("02:00:00:00:00:ff"), Some([2, 0, 0, 0, 0, 255]));
    assert_eq!(hardware_of("02:00:00:00:00"), None);
    assert_eq!(hardware_of("02:00:00:00:00:00:00"), None);
    assert_eq!(hardware_of(""), None);
}
