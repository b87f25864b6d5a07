use http::header::ACCEPT;

use super::*;

#[test]
fn questions_ask_for_streams_pages_and_the_own_node() {
    let uri = |question: Question| question.unwrap().uri().to_string();
    let list = uri(watch_of(Kind::NetworkPolicy, None, None));
    assert!(list.starts_with("/apis/networking.k8s.io/v1/networkpolicies?"), "{list}");
    for part in [
        "watch=true",
        "sendInitialEvents=true",
        "resourceVersionMatch=NotOlderThan",
        "allowWatchBookmarks=true",
    ] {
        assert!(list.contains(part), "{list}");
    }
    // As new as when it is asked: a version would allow what the server has in memory, however old.
    assert!(list.ends_with("resourceVersion="), "{list}");
    let on = uri(watch_of(Kind::Node, Some("metadata.name=n1"), Some("17")));
    assert!(on.starts_with("/api/v1/nodes?") && on.contains("fieldSelector=metadata.name%3Dn1"), "{on}");
    assert!(on.ends_with("resourceVersion=17") && !on.contains("sendInitialEvents"), "{on}");
    let page = uri(page_of(Kind::Pod, None, Some("a+b=")));
    assert!(page.contains("limit=500") && page.contains("continue=a%2Bb%3D"), "{page}");
    assert!(!page.contains("resourceVersion"), "{page}");
}

#[test]
fn pods_are_asked_for_in_protobuf_and_the_rest_in_json() {
    for kind in Kind::ALL {
        for (question, expected) in [
            (
                watch_of(kind, None, None),
                "application/vnd.kubernetes.protobuf;stream=watch, application/json;q=0.9",
            ),
            (page_of(kind, None, None), "application/vnd.kubernetes.protobuf, application/json;q=0.9"),
        ] {
            let question = question.unwrap();
            let accepted = question.headers().get(ACCEPT).map(|accepted| accepted.to_str().unwrap());
            assert_eq!(accepted, (kind == Kind::Pod).then_some(expected), "{kind:?}");
        }
    }
}
