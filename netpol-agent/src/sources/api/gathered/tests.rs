use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use netpol_policy::{
    model::{Key, Kind, SourceEvent},
    read::read_object,
};
use serde_json::{Value, json};

use super::{Failure, Gathered, Heard};
use crate::sources::{WatchState, Watched, api::watch::Stamp};

fn there(kind: Kind, object: &Value) -> Heard {
    let version = object["metadata"]["resourceVersion"].as_str().map_or(0, |text| text.parse().unwrap());
    Heard::There(Box::new(read_object(kind, &object.into())), stamp(version))
}

fn gone(namespace: &str, name: &str, version: u64) -> Heard {
    Heard::Gone(Key::new(namespace, name), stamp(version))
}

fn stamp(version: u64) -> Stamp {
    Stamp { version, read: Instant::now() }
}

fn pod(name: &str) -> Heard {
    there(Kind::Pod, &json!({"metadata": {"name": name, "namespace": "a"}}))
}

fn cut(why: &str) -> Heard {
    Heard::Cut(Failure::unanswered(why))
}

fn list(gathered: &mut Gathered, kind: Kind, objects: Vec<Heard>) {
    gathered.take(kind, Heard::Listing);
    for object in objects {
        gathered.take(kind, object);
    }
    gathered.take(kind, Heard::Listed);
}

/// Everything listed: our node, pods `x` and `y`, nothing else.
fn synced() -> Gathered {
    let mut gathered = Gathered::new("n1");
    for kind in Kind::ALL {
        let objects = match kind {
            Kind::Pod => vec![pod("x"), pod("y")],
            Kind::Node => vec![there(Kind::Node, &json!({"metadata": {"name": "n1"}}))],
            _ => Vec::new(),
        };
        list(&mut gathered, kind, objects);
    }
    assert!(gathered.update().unwrap().synced);
    gathered
}

#[test]
fn nothing_is_synced_before_every_kind_has_listed_whole() {
    let mut gathered = Gathered::new("n1");
    for kind in Kind::ALL {
        gathered.take(kind, Heard::Listing);
        gathered.take(kind, cut("the list ended in the middle"));
        assert!(!gathered.update().unwrap().synced, "{kind:?}");
        list(&mut gathered, kind, Vec::new());
        let synced = kind == *Kind::ALL.last().unwrap();
        assert_eq!(gathered.update().unwrap().synced, synced, "{kind:?}");
    }
}

#[test]
fn a_first_list_is_under_way_until_it_is_whole_and_a_new_one_is_none() {
    let mut gathered = Gathered::new("n1");
    assert!(!gathered.lists_first(), "none has begun");
    gathered.take(Kind::Pod, Heard::Listing);
    gathered.take(Kind::Pod, pod("x"));
    assert!(gathered.lists_first());
    gathered.take(Kind::Pod, Heard::Listed);
    assert!(!gathered.lists_first());
    gathered.take(Kind::Pod, Heard::Listing);
    assert!(!gathered.lists_first());
}

#[test]
fn the_end_of_a_list_that_was_never_begun_takes_nothing_away() {
    let mut gathered = synced();
    gathered.take(Kind::Pod, Heard::Listed);
    let events = gathered.update().map(|update| update.events).unwrap_or_default();
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn the_list_of_problems_is_made_anew_only_when_it_changes() {
    let mut gathered = synced();
    list(&mut gathered, Kind::Node, Vec::new());
    let problems = gathered.update().unwrap().problems;
    gathered.take(Kind::Pod, pod("z"));
    assert!(Arc::ptr_eq(&problems, &gathered.update().unwrap().problems));
}

#[test]
fn a_new_list_takes_away_what_is_not_in_it_and_only_when_it_is_whole() {
    let mut gathered = synced();
    gathered.take(Kind::Pod, Heard::Listing);
    gathered.take(Kind::Pod, pod("y"));
    let update = gathered.update().unwrap();
    let begins = SourceEvent::Listing(Kind::Pod);
    assert!(matches!(&update.events[..], [first, SourceEvent::Apply(_)] if *first == begins), "{update:?}");
    // The list begins anew: what the first half named counts for nothing.
    gathered.take(Kind::Pod, cut("half a list"));
    list(&mut gathered, Kind::Pod, vec![pod("x"), pod("z")]);
    let update = gathered.update().unwrap();
    assert!(update.synced);
    let (first, last) = (update.events.first(), update.events.last());
    assert_eq!((first, last), (Some(&begins), Some(&SourceEvent::Listed(Kind::Pod))), "{update:?}");
}

fn watch(watches: &[Watched], kind: Kind) -> (WatchState, Option<&str>) {
    let watch = watches.iter().find(|watch| watch.kind == kind.name()).unwrap();
    (watch.state, watch.error.as_deref())
}

#[test]
fn what_cannot_be_heard_is_behind_until_it_is_followed_or_whole_again() {
    for end in [Heard::Following, Heard::Listed] {
        let mut gathered = synced();
        gathered.take(Kind::Service, cut("connection refused"));
        let update = gathered.update().unwrap();
        assert!(update.synced, "what was heard last stays in force");
        assert_eq!(update.events, []);
        let behind = (WatchState::Behind, Some("connection refused"));
        assert_eq!(watch(&update.watches, Kind::Service), behind);
        assert_eq!(watch(&update.watches, Kind::Pod), (WatchState::Watching, None), "the others go on");
        gathered.take(Kind::Service, cut("connection refused"));
        assert_eq!(gathered.update(), None, "each further try has nothing new to say");
        // A list that begins may end in the middle again.
        gathered.take(Kind::Service, Heard::Listing);
        let update = gathered.update().unwrap();
        assert_eq!(update.events, [SourceEvent::Listing(Kind::Service)]);
        assert_eq!(watch(&update.watches, Kind::Service), behind);
        gathered.take(Kind::Service, end);
        assert_eq!(watch(&gathered.update().unwrap().watches, Kind::Service), (WatchState::Watching, None));
    }
}

#[test]
fn the_log_says_once_why_kinds_are_cut_off_and_again_when_it_is_something_else() {
    let mut gathered = synced();
    let mut logs = |heard: Vec<(Kind, Heard)>| {
        for (kind, heard) in heard {
            gathered.take(kind, heard);
        }
        let logged: Vec<(String, usize)> =
            gathered.to_log.iter().map(|(why, kinds)| (why.clone(), kinds.len())).collect();
        gathered.update();
        logged
    };
    let once = logs(vec![(Kind::Pod, cut("refused")), (Kind::Service, cut("refused"))]);
    assert_eq!(once, [("refused".to_owned(), 2)], "one line for what ails them all");
    assert_eq!(logs(vec![(Kind::Pod, cut("reset by peer")), (Kind::Service, cut("refused"))]), []);
    let forbidden = || Heard::Cut(Failure::said(Kind::Pod, 403, "no rights"));
    assert_eq!(logs(vec![(Kind::Pod, forbidden())]).len(), 1, "the server is there and refuses");
    assert_eq!(logs(vec![(Kind::Pod, forbidden())]), []);
    assert_eq!(logs(vec![(Kind::Pod, Heard::Following), (Kind::Pod, cut("refused"))]).len(), 1);
}

#[test]
fn a_node_of_another_name_is_said_until_it_is_there() {
    let mut gathered = Gathered::new("n1");
    list(&mut gathered, Kind::Node, Vec::new());
    let problems = gathered.update().unwrap().problems;
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().contains("Node n1: ") && problems[0].remedy.contains("--node"));
    let node = || there(Kind::Node, &json!({"metadata": {"name": "n1"}}));
    gathered.take(Kind::Node, node());
    assert!(gathered.update().unwrap().problems.is_empty());
    gathered.take(Kind::Node, gone("", "n1", 0));
    assert_eq!(gathered.update().unwrap().problems.len(), 1);
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
    list(&mut gathered, Kind::NetworkPolicy, vec![policy(json!(7))]);
    let update = gathered.update().unwrap();
    let stays = SourceEvent::Stays(Kind::NetworkPolicy, Key::new("a", "p"));
    assert_eq!((&update.events[1], update.problems.len()), (&stays, 1));
    list(&mut gathered, Kind::NetworkPolicy, Vec::new());
    assert_eq!(gathered.update().unwrap().problems.len(), 0, "it has gone unheard");
    gathered.take(Kind::NetworkPolicy, policy(json!(7)));
    assert_eq!(gathered.update().unwrap().events.len(), 1, "and so has its good version");
    gathered.take(Kind::NetworkPolicy, gone("a", "p", 0));
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
    gathered.take(Kind::Pod, gone("a", "x", 15));
    let newest = gathered.update().unwrap().newest;
    assert_eq!((newest[&Kind::Pod], newest[&Kind::Namespace]), (15, 0));
}

#[test]
fn each_change_tells_when_it_was_read_and_objects_of_a_list_do_not() {
    let mut gathered = Gathered::new("n1");
    let start = Instant::now();
    let at = |heard: Heard, milliseconds: u64| {
        let read = start + Duration::from_millis(milliseconds);
        match heard {
            Heard::There(object, stamp) => Heard::There(object, Stamp { read, ..stamp }),
            Heard::Gone(key, stamp) => Heard::Gone(key, Stamp { read, ..stamp }),
            other => other,
        }
    };
    list(&mut gathered, Kind::Pod, vec![pod("x"), pod("y")]);
    assert!(gathered.update().unwrap().read.is_empty());
    gathered.take(Kind::Pod, at(pod("x"), 1));
    gathered.take(Kind::Pod, at(pod("z"), 2));
    gathered.take(Kind::Pod, at(gone("a", "y", 0), 3));
    let times = [1, 2, 3].map(|time| start + Duration::from_millis(time));
    assert_eq!(gathered.update().unwrap().read, times);
    list(&mut gathered, Kind::Pod, vec![pod("x")]);
    let update = gathered.update().unwrap();
    assert_eq!((update.events.len(), update.read.len()), (3, 0), "z has gone unheard");
}
