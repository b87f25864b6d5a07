//! The ends of a question.

use netpol_common::Direction;
use serde_json::json;

use crate::{
    model::Key,
    spec::{
        Cluster,
        tests::fixture::{NODE, deny_all, egress, ingress, objects, payload, pod, policy, with, with_ports},
    },
    why::{End, Explanation, Outcome, Question, Side, Unanswerable, attribute, escaped, explain},
};

fn cluster(documents: &[serde_json::Value]) -> Cluster {
    Cluster::new(&objects(documents), NODE)
}

fn ask(cluster: &Cluster, source: &str, destination: &str, what: &str) -> Result<Explanation, Unanswerable> {
    let question = Question {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        payload: payload(what),
    };
    explain(cluster, &question)
}

#[test]
fn ends_are_read_as_people_write_them() {
    let labelled = |namespace: &str, labels: &[(&str, &str)]| End::Labelled {
        namespace: namespace.into(),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    for (text, end) in [
        ("node", End::Node),
        ("node/n2", End::OtherNode("n2".into())),
        ("world", End::World),
        ("10.0.0.1", End::Address("10.0.0.1".parse().unwrap())),
        ("::ffff:10.0.0.1", End::Address("10.0.0.1".parse().unwrap())),
        ("fd00::1", End::Address("fd00::1".parse().unwrap())),
        ("api", End::Named(Key::new("default", "api"))),
        ("production/api", End::Named(Key::new("production", "api"))),
        ("pod/production/api", End::Named(Key::new("production", "api"))),
        ("service/api", End::Service(Key::new("default", "api"))),
        ("svc/production/api", End::Service(Key::new("production", "api"))),
        ("production/service/api", End::Service(Key::new("production", "api"))),
        ("deployment/api", End::Named(Key::new("default", "deployment/api"))),
        ("production/Deployment/api", End::Named(Key::new("production", "deployment/api"))),
        ("app=api", labelled("default", &[("app", "api")])),
        ("production/app=api,tier=", labelled("production", &[("app", "api"), ("tier", "")])),
        ("app.kubernetes.io/name=api", labelled("default", &[("app.kubernetes.io/name", "api")])),
        (
            "production/app.kubernetes.io/name=api",
            labelled("production", &[("app.kubernetes.io/name", "api")]),
        ),
    ] {
        assert_eq!(text.parse::<End>().unwrap(), end, "{text}");
        assert_eq!(End::parse(&end.to_string(), "elsewhere").unwrap(), end, "{text}");
    }
    for text in ["", "/api", "production/", "a/b/c", "a/b/c/d", "=api", "x/=api", "app=a,b"] {
        assert!(text.parse::<End>().is_err(), "{text}");
    }
}

#[test]
fn a_name_without_a_namespace_is_of_the_one_that_is_meant() {
    for (text, meant) in [
        ("api", "production/api"),
        ("svc/api", "service/production/api"),
        ("deployment/api", "production/deployment/api"),
        ("app=api", "production/app=api"),
        ("staging/api", "staging/api"),
        ("world", "world"),
    ] {
        assert_eq!(End::parse(text, "production").unwrap().to_string(), meant);
    }
}

#[test]
fn who_is_not_there_is_said() {
    let cluster = cluster(&[pod("x", "a", json!({}), &["10.0.0.1"])]);
    assert_eq!(ask(&cluster, "x/b", "x/a", "80/TCP"), Err(Unanswerable::Unknown("x/b".into())));
    assert_eq!(ask(&cluster, "x/a", "x/b", "80/TCP"), Err(Unanswerable::Unknown("x/b".into())));
    assert_eq!(
        ask(&cluster, "service/x/b", "x/a", "80/TCP"),
        Err(Unanswerable::ServiceAsSource("x/b".into()))
    );
}

#[test]
fn a_pod_that_does_not_exist_yet_is_judged_by_its_labels() {
    let cluster = cluster(&[
        pod("production", "api-1", json!({"app": "api"}), &["10.0.0.1"]),
        ingress("production", json!([{"from": [{"podSelector": {"matchLabels": {"app": "frontend"}}}]}])),
    ]);
    assert_eq!(
        ask(&cluster, "production/app=frontend", "production/api-1", "80/TCP").unwrap().outcome,
        Outcome::Allowed
    );
    assert_eq!(
        ask(&cluster, "production/app=other", "production/api-1", "80/TCP").unwrap().outcome,
        Outcome::Denied
    );
    assert_eq!(
        ask(&cluster, "staging/app=frontend", "production/api-1", "80/TCP").unwrap().outcome,
        Outcome::Denied
    );
}

#[test]
fn the_template_of_a_workload_stands_for_its_pods() {
    let mut template = pod("production", "deployment/api", json!({"app": "api"}), &[]);
    template = with_ports(template, &["web=8080/TCP"]);
    let crate::model::Object::Pod(template) = objects(&[template]).remove(0) else { panic!() };
    let cluster = cluster(&[ingress("production", json!([{"ports": [{"port": "web"}]}]))])
        .with_templates(vec![template]);
    let asked = |what: &str| ask(&cluster, "192.0.2.1", "production/deployment/api", what).unwrap().outcome;
    assert_eq!(asked("8080/TCP"), Outcome::Allowed);
    assert_eq!(asked("80/TCP"), Outcome::Denied);
    let own = ask(&cluster, "production/deployment/api", "production/deployment/api", "80/TCP").unwrap();
    assert_eq!(own.outcome, Outcome::Denied, "replicas are not one pod");
}

#[test]
fn a_service_is_judged_by_each_backend_at_its_own_port() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "y", "name": "web"},
        "spec": {"clusterIP": "10.96.0.1", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}});
    let cluster = cluster(&[
        pod("x", "client", json!({}), &["10.0.0.9"]),
        with_ports(pod("y", "web-1", json!({"app": "web"}), &["10.0.1.1"]), &["http=8080/TCP"]),
        with_ports(pod("y", "web-2", json!({"app": "web"}), &["10.0.1.2"]), &["http=9090/TCP"]),
        service,
        egress("x", json!([{"to": [{"namespaceSelector": {}}], "ports": [{"port": 8080}]}])),
    ]);
    for destination in ["service/y/web", "y/web", "10.96.0.1"] {
        let answer = ask(&cluster, "x/client", destination, "80/TCP").unwrap();
        assert_eq!(answer.outcome, Outcome::Differs);
        let flows: Vec<(&str, &str, bool)> =
            answer.flows.iter().map(|flow| (&*flow.destination, &*flow.payload, flow.allowed)).collect();
        let expected = [("y/web-1 (10.0.1.1)", "8080/TCP", true), ("y/web-2 (10.0.1.2)", "9090/TCP", false)];
        assert_eq!(flows, expected, "{destination}");
    }
    let client = Key::new("x", "client");
    let seen =
        attribute(&cluster, &client, Direction::Egress, "10.96.0.1".parse().unwrap(), payload("80/TCP"));
    let sides: Vec<(&str, bool)> = seen.iter().map(|one| (&*one.payload, one.side.allows())).collect();
    assert_eq!(sides, [("8080/TCP", true), ("9090/TCP", false)], "as for a flow that was seen");

    let nowhere = ask(&cluster, "x/client", "service/y/web", "81/TCP").unwrap();
    assert_eq!(nowhere.outcome, Outcome::Nowhere);
    assert_eq!(nowhere.notes, ["the Service has no port 81/TCP; it has 80/TCP"]);
    assert_eq!(ask(&cluster, "x/client", "10.96.0.1", "81/TCP").unwrap().outcome, Outcome::Nowhere);
}

#[test]
fn the_node_reaches_its_pods_and_no_others() {
    let cluster = cluster(&[
        pod("x", "a", json!({}), &["10.0.0.1"]),
        with(pod("x", "b", json!({}), &["10.0.0.2"]), "/spec/nodeName", json!("elsewhere")),
        deny_all("x"),
    ]);
    assert_eq!(ask(&cluster, "node", "x/a", "80/TCP").unwrap().outcome, Outcome::Allowed);
    assert_eq!(ask(&cluster, "node", "x/b", "80/TCP").unwrap().outcome, Outcome::Denied);
    assert_eq!(ask(&cluster, "x/a", "node", "80/TCP").unwrap().outcome, Outcome::Denied);
}

#[test]
fn the_world_is_what_a_whole_family_matches() {
    let asked = |rules: serde_json::Value| {
        let cluster = cluster(&[pod("x", "a", json!({}), &["10.0.0.1", "fd00::1"]), egress("x", rules)]);
        ask(&cluster, "x/a", "world", "443/TCP").unwrap()
    };
    let block = |cidr: &str| json!({"ipBlock": {"cidr": cidr, "except": []}});
    assert_eq!(asked(json!([{"to": [block("0.0.0.0/0"), block("::/0")]}])).outcome, Outcome::Allowed);
    assert_eq!(
        asked(json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}, block("::/0")]}]))
            .outcome,
        Outcome::Allowed
    );
    assert_eq!(asked(json!([{"to": [block("203.0.113.0/24")]}])).outcome, Outcome::Denied);
    let v4_only = asked(json!([{"to": [block("0.0.0.0/0")]}]));
    assert_eq!(v4_only.outcome, Outcome::Differs);
    let named: Vec<(&str, bool)> =
        v4_only.flows.iter().map(|flow| (&*flow.destination, flow.allowed)).collect();
    assert_eq!(named, [("world (IPv4)", true), ("world (IPv6)", false)]);
}

#[test]
fn a_pod_reaches_itself_and_pods_of_the_nodes_network_are_named_as_such() {
    let cluster = cluster(&[
        pod("x", "a", json!({}), &["10.0.0.1"]),
        with(pod("x", "agent", json!({}), &["192.168.0.1"]), "/spec/hostNetwork", json!(true)),
        deny_all("x"),
    ]);
    assert_eq!(ask(&cluster, "x/a", "x/a", "80/TCP").unwrap().outcome, Outcome::Allowed);
    assert_eq!(ask(&cluster, "192.0.2.1", "x/agent", "80/TCP").unwrap().flows[0].ingress, Side::HostNetwork);
}

#[test]
fn families_without_a_common_one_cannot_speak() {
    let cluster = cluster(&[pod("x", "a", json!({}), &["10.0.0.1"]), pod("x", "b", json!({}), &["fd00::1"])]);
    let answer = ask(&cluster, "x/a", "x/b", "80/TCP").unwrap();
    assert_eq!(answer.outcome, Outcome::Nowhere);
    assert_eq!(answer.notes, ["the ends have no family of addresses in common"]);
}

#[test]
fn control_characters_of_names_and_labels_never_reach_a_terminal() {
    let evil = "\u{1b}[2Jp\r\n\u{202e}";
    let cluster = cluster(&[
        pod("x", evil, json!({"app": evil}), &["10.0.0.1"]),
        pod("x", "b", json!({"app": evil}), &["10.0.0.2"]),
        policy(
            "x",
            evil,
            json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {(evil): evil}}}]}]}),
        ),
    ]);
    let answer = explain(
        &cluster,
        &Question {
            source: End::Named(Key::new("x", evil)),
            destination: End::Address("10.0.0.2".parse().unwrap()),
            payload: payload("80/TCP"),
        },
    )
    .unwrap();
    assert_eq!(answer.outcome, Outcome::Denied);
    let text = format!("{answer}{}", serde_json::to_string(&answer).unwrap());
    assert!(!text.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
    let missing = explain(
        &cluster,
        &Question {
            source: End::Named(Key::new(evil, evil)),
            destination: End::World,
            payload: payload("80/TCP"),
        },
    );
    assert!(!missing.unwrap_err().to_string().contains(char::is_control));
    assert_eq!(escaped("plain-\u{7}"), "plain-\\u{7}");
}
