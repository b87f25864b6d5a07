use netpol_policy::{
    model::{Key, Kind, SourceEvent},
    read::read_object,
};
use serde_json::{Value, json};

use super::{Gathered, Heard};

fn there(kind: Kind, object: &Value) -> Heard {
    let version = object["metadata"]["resourceVersion"].as_str().map_or(0, |text| text.parse().unwrap());
    Heard::There(Box::new(read_object(kind, object)), version)
}

fn pod(name: &str) -> Heard {
    there(Kind::Pod, &json!({"metadata": {"name": name, "namespace": "a"}}))
}

fn list(gathered: &mut Gathered, kind: Kind, objects: Vec<Heard>) {
    gathered.take(kind, Heard::Listing);
    for object in objects {
        gathered.take(kind, object);
    }
    gathered.take(kind, Heard::Listed);
}

/// Everything listed: pods `x` and `y`, nothing else.
fn synced() -> Gathered {
    let mut gathered = Gathered::default();
    for kind in Kind::ALL {
        list(&mut gathered, kind, if kind == Kind::Pod { vec![pod("x"), pod("y")] } else { Vec::new() });
    }
    assert!(gathered.update().unwrap().synced);
    gathered
}

#[test]
fn nothing_is_synced_before_every_kind_has_listed_whole() {
    let mut gathered = Gathered::default();
    for kind in Kind::ALL {
        gathered.take(kind, Heard::Listing);
        gathered.take(kind, Heard::Cut("the connection broke in the middle".into()));
        assert!(!gathered.update().unwrap().synced, "{kind:?}");
        list(&mut gathered, kind, Vec::new());
        let synced = kind == *Kind::ALL.last().unwrap();
        assert_eq!(gathered.update().unwrap().synced, synced, "{kind:?}");
    }
}

#[test]
fn a_new_list_takes_away_what_is_not_in_it_and_only_when_it_is_whole() {
    let mut gathered = synced();
    gathered.take(Kind::Pod, Heard::Listing);
    gathered.take(Kind::Pod, pod("y"));
    let update = gathered.update().unwrap();
    assert!(matches!(update.events[..], [SourceEvent::Apply(_)]), "{update:?}");
    // The list begins anew: what the first half named counts for nothing.
    gathered.take(Kind::Pod, Heard::Cut("half a list".into()));
    list(&mut gathered, Kind::Pod, vec![pod("x"), pod("z")]);
    let update = gathered.update().unwrap();
    assert!(update.synced);
    let gone: Vec<&SourceEvent> =
        update.events.iter().filter(|event| matches!(event, SourceEvent::Delete(..))).collect();
    assert_eq!(gone, [&SourceEvent::Delete(Kind::Pod, Key::new("a", "y"))]);
}

#[test]
fn a_cut_is_said_once_and_is_over_with_the_next_word() {
    let mut gathered = synced();
    gathered.take(Kind::Service, Heard::Cut("connection refused".into()));
    let update = gathered.update().unwrap();
    assert!(update.synced, "what was heard last stays in force");
    assert_eq!(update.problems.len(), 1);
    assert!(update.problems[0].to_string().contains("connection refused"), "{}", update.problems[0]);
    gathered.take(Kind::Service, Heard::Cut("connection refused".into()));
    assert_eq!(gathered.update(), None);
    gathered.take(Kind::Service, Heard::Listing);
    assert_eq!(gathered.update().unwrap().problems, []);
}

#[test]
fn a_policy_that_selects_nobody_knows_whom_leaves_its_last_good_version() {
    let policy = |selector: Value| {
        there(
            Kind::NetworkPolicy,
            &json!({"metadata": {"name": "p", "namespace": "a"}, "spec": {"podSelector": selector}}),
        )
    };
    let mut gathered = synced();
    gathered.take(Kind::NetworkPolicy, policy(json!(7)));
    let update = gathered.update().unwrap();
    assert_eq!(update.events.len(), 1, "without a good version what stands in isolates the namespace");
    assert_eq!(update.problems.len(), 1);
    gathered.take(Kind::NetworkPolicy, policy(json!({})));
    let update = gathered.update().unwrap();
    assert_eq!((update.events.len(), update.problems.len()), (1, 0));
    gathered.take(Kind::NetworkPolicy, policy(json!(7)));
    let update = gathered.update().unwrap();
    assert_eq!((update.events.len(), update.problems.len()), (0, 1));
    gathered.take(Kind::NetworkPolicy, Heard::Gone(Key::new("a", "p"), 0));
    let update = gathered.update().unwrap();
    assert_eq!((update.events.len(), update.problems.len()), (1, 0));
}

#[test]
fn the_newest_version_of_each_kind_is_told_also_of_what_is_gone() {
    let mut gathered = synced();
    let pod = |version: &str| {
        there(Kind::Pod, &json!({"metadata": {"name": "x", "namespace": "a", "resourceVersion": version}}))
    };
    gathered.take(Kind::Pod, pod("12"));
    // A new list repeats what is older.
    gathered.take(Kind::Pod, pod("7"));
    assert_eq!(gathered.update().unwrap().newest[&Kind::Pod], 12);
    gathered.take(Kind::Pod, Heard::Gone(Key::new("a", "x"), 15));
    let newest = gathered.update().unwrap().newest;
    assert_eq!((newest[&Kind::Pod], newest[&Kind::Namespace]), (15, 0));
}
