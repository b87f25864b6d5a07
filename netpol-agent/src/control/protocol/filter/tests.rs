use proptest::prelude::*;

use super::*;
use crate::{
    control::protocol::{Cause, EndKind, PolicyPart},
    verdicts::text::tests::denied,
};

/// From the pod `shop/client` (10.0.0.1:4000) to the Service `shop/api` (10.96.0.1:80), denied on its way out.
fn verdict() -> Verdict {
    let mut verdict = denied();
    verdict.direction = "egress".to_owned();
    verdict.endpoint = "shop/client".to_owned();
    verdict.isolated_by = vec!["shop/deny".to_owned()];
    verdict.source.name = "shop/client".to_owned();
    verdict.source.labels = [("app", "client"), ("app.kubernetes.io/name", "c")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    verdict.destination = End {
        kind: EndKind::Service,
        name: "shop/api".to_owned(),
        address: "10.96.0.1".to_owned(),
        port: Some(80),
        labels: Default::default(),
    };
    verdict
}

fn with(kind: EndKind, name: &str, address: &str) -> Verdict {
    let mut verdict = verdict();
    verdict.destination =
        End { kind, name: name.to_owned(), address: address.to_owned(), ..verdict.destination };
    verdict
}

fn wanted(tests: &[&str]) -> Filter {
    Filter { wanted: tests.iter().map(|test| test.parse().unwrap()).collect(), ..Filter::default() }
}

const MET: &[&str] = &[
    "pod=shop/client",
    "pod=shop/",
    "namespace=shop",
    "label=app=client",
    "label=app",
    "label=shop/app=client",
    "label=app.kubernetes.io/name=c",
    "label=shop/app.kubernetes.io/name=c",
    "address=10.0.0.1",
    "address=10.0.0.0/24",
    "address=10.96.0.1",
    "address=::ffff:10.0.0.1",
    "port=80",
    "port=4000",
    "port=79-81",
    "from=shop/client",
    "from=shop/",
    "from=app=client",
    "from=shop/app=client",
    "from=10.0.0.0/8",
    "to=svc/shop/api",
    "to=service/shop/api",
    "to=shop/",
    "to=10.96.0.1",
    "from-port=4000",
    "to-port=80",
    "to-port=1-100",
    "protocol=tcp",
    "protocol=TCP",
    "protocol=6",
    "verdict=dropped",
    "direction=egress",
    "reason=policy-denied",
    "policy=shop/deny",
    "policy=shop/",
    "--policy=shop/deny",
];

const NOT_MET: &[&str] = &[
    "pod=shop/api",
    "pod=client",
    "pod=shop/clien",
    "pod=sho/",
    "namespace=sho",
    "label=app=clien",
    "label=other/app=client",
    "label=tier",
    "address=10.0.0.2",
    "address=fd00::1",
    "port=81",
    "from=shop/api",
    "from=world",
    "from=node",
    "from=svc/shop/api",
    "to=shop/api",
    "to=app=client",
    "to=10.0.0.0/24",
    "from-port=80",
    "to-port=4000",
    "protocol=udp",
    "verdict=allowed",
    "direction=ingress",
    "reason=flow-denied",
    "policy=shop/other",
    "policy=deny",
];

#[test]
fn each_flag_shows_what_it_says_and_nothing_else() {
    for text in MET {
        assert!(wanted(&[text]).admits(&verdict()), "{text}");
    }
    for text in NOT_MET {
        assert!(!wanted(&[text]).admits(&verdict()), "{text}");
    }
}

#[test]
fn nodes_and_the_world_can_be_asked_for() {
    let node = with(EndKind::Node, "n1", "192.168.0.1");
    let world = with(EndKind::World, "", "203.0.113.9");
    for (text, of_node, of_world) in [
        ("to=node", true, false),
        ("to=node/n1", true, false),
        ("to=node/n2", false, false),
        ("to=world", false, true),
        ("to=203.0.113.0/24", false, true),
        ("from=world", false, false),
    ] {
        let seen = (wanted(&[text]).admits(&node), wanted(&[text]).admits(&world));
        assert_eq!(seen, (of_node, of_world), "{text}");
    }
}

#[test]
fn a_pod_that_forges_an_address_is_found_by_its_name() {
    let mut forged = with(EndKind::World, "", "203.0.113.9");
    forged.source =
        End { kind: EndKind::World, name: String::new(), labels: Default::default(), ..forged.source };
    assert!(wanted(&["pod=shop/client"]).admits(&forged));
    assert!(!wanted(&["from=shop/client"]).admits(&forged));
}

#[test]
fn a_policy_is_found_where_it_allowed() {
    let mut allowed = verdict();
    allowed.isolated_by.clear();
    allowed.allowed_by = vec![PolicyPart { policy: "shop/allow".to_owned(), number: 1, rule: String::new() }];
    assert!(wanted(&["policy=shop/allow"]).admits(&allowed));
    assert!(!wanted(&["policy=shop/deny"]).admits(&allowed));
}

#[test]
fn values_of_one_flag_are_alternatives_and_flags_must_all_be_met() {
    assert!(wanted(&["to-port=80", "to-port=443", "from=shop/client"]).admits(&verdict()));
    assert!(!wanted(&["to-port=80", "to-port=443", "from=shop/other"]).admits(&verdict()));
    assert!(!wanted(&["to-port=81", "to-port=443", "from=shop/client"]).admits(&verdict()));
    let unwanted = |tests: &[&str]| Filter { unwanted: wanted(tests).wanted, ..Filter::default() };
    assert!(!unwanted(&["to-port=80", "pod=shop/other"]).admits(&verdict()));
    assert!(unwanted(&["to-port=81", "pod=shop/other"]).admits(&verdict()));
}

#[test]
fn what_can_never_match_is_refused_with_what_to_write() {
    for (text, says) in [
        ("reason=policy-dened", "did you mean policy-denied"),
        ("reason=", "--reasons"),
        ("protocol=tccp", "did you mean TCP"),
        ("protocol=256", "0 to 255"),
        ("address=10.0.0.0/33", "10.0.0.0/24"),
        ("address=shop/api", "CIDR"),
        ("port=http", "8080"),
        ("port=90-80", "8000-8999"),
        ("port=65536", "8080"),
        ("pod=", "NAMESPACE/NAME"),
        ("pod=/api", "NAMESPACE/NAME"),
        ("pod=a/b/c", "NAMESPACE/NAME"),
        ("namespace=a/b", "alone"),
        ("label==x", "KEY=VALUE"),
        ("from=a/b/c", "svc/"),
        ("to=", "world"),
        ("verdict=denied", "allowed or dropped"),
        ("direction=in", "ingress"),
        ("policy=", "NAMESPACE/NAME"),
        ("colour=red", "the flags are pod, namespace"),
        ("pod", "NAMESPACE/NAME"),
    ] {
        let error = text.parse::<Test>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn times_bound_verdicts_and_gaps() {
    let verdict = verdict();
    let moment = |ms: i64| Some(Moment::from_milliseconds(verdict.time.milliseconds() + ms));
    let between = |since, until| Filter { since, until, ..Filter::default() };
    assert!(between(moment(0), moment(0)).admits(&verdict));
    assert!(!between(moment(1), None).admits(&verdict));
    assert!(!between(None, moment(-1)).admits(&verdict));
    let gap = Gap {
        time: verdict.time,
        since: moment(-1000).unwrap(),
        cause: Cause::RingFull,
        count: 1,
        endpoint: String::new(),
    };
    assert!(between(moment(0), None).admits_gap(&gap) && between(None, moment(-1000)).admits_gap(&gap));
    assert!(!between(moment(1), None).admits_gap(&gap) && !between(None, moment(-1001)).admits_gap(&gap));
}

#[test]
fn a_filter_crosses_the_socket_and_a_wrong_one_does_not() {
    let filter = Filter { unwanted: wanted(&["to=world"]).wanted, ..wanted(MET) };
    let json = serde_json::to_string(&filter).unwrap();
    assert!(json.contains("\"pod=shop/client\""), "{json}");
    assert_eq!(serde_json::from_str::<Filter>(&json).unwrap(), filter);
    assert!(serde_json::from_str::<Filter>("{\"wanted\":[\"pod=\"]}").is_err());
}

fn some_verdict() -> impl Strategy<Value = Verdict> {
    let end = || {
        (0..4usize, 0..3usize, 0..3u16).prop_map(|(kind, which, port)| End {
            kind: [EndKind::Pod, EndKind::Service, EndKind::Node, EndKind::World][kind],
            name: ["shop/client", "shop/api", "n1"][which].to_owned(),
            address: ["10.0.0.1", "10.96.0.1", "fd00::1"][which].to_owned(),
            port: [None, Some(80), Some(4000)][usize::from(port)],
            labels: if kind == 0 { verdict().source.labels } else { Default::default() },
        })
    };
    (end(), end(), 0..2usize, 0..2usize, 0..3usize).prop_map(
        |(source, destination, outcome, direction, why)| Verdict {
            verdict: Outcome::ALL[outcome],
            direction: Direction::ALL[direction].name().to_owned(),
            reason: ["policy", "policy-denied", "flow-denied"][why].to_owned(),
            protocol: ["TCP", "UDP", "ICMP"][why].to_owned(),
            isolated_by: vec![["shop/deny", "shop/other", "n/x"][why].to_owned()],
            source,
            destination,
            ..verdict()
        },
    )
}

#[test]
fn a_name_without_a_namespace_is_of_the_one_that_is_meant() {
    for (typed, meant) in [
        ("pod=api", "pod=production/api"),
        ("from=api", "from=production/api"),
        ("to=svc/api", "to=svc/production/api"),
        ("policy=deny", "policy=production/deny"),
        // These have one, or need none.
        ("pod=staging/api", "pod=staging/api"),
        ("to=staging/", "to=staging/"),
        ("to=svc/staging/api", "to=svc/staging/api"),
        ("from=app=api", "from=app=api"),
        ("from=10.0.0.1", "from=10.0.0.1"),
        ("from=node/n", "from=node/n"),
        ("to=world", "to=world"),
        ("namespace=staging", "namespace=staging"),
        ("to-port=80", "to-port=80"),
    ] {
        assert_eq!(typed.parse::<Test>().unwrap().within("production").to_string(), meant);
    }
}

fn some_test() -> impl Strategy<Value = Test> {
    let all: Vec<&str> = MET.iter().chain(NOT_MET).copied().collect();
    proptest::sample::select(all).prop_map(|text| text.parse().unwrap())
}

proptest! {
    #[test]
    fn not_shows_exactly_what_the_filter_does_not(verdict in some_verdict(), test in some_test()) {
        let filter = Filter { wanted: vec![test.clone()], ..Filter::default() };
        let not = Filter { unwanted: vec![test], ..Filter::default() };
        prop_assert_ne!(filter.admits(&verdict), not.admits(&verdict));
    }

    #[test]
    fn one_more_flag_never_shows_more(verdict in some_verdict(), tests in prop::collection::vec(some_test(), 0..4), unwanted in some_test()) {
        let filter = Filter { wanted: tests.clone(), ..Filter::default() };
        let less = Filter { unwanted: vec![unwanted], ..filter.clone() };
        prop_assert!(filter.admits(&verdict) || !less.admits(&verdict));
        let each = Flag::ALL.iter().all(|flag| {
            let mut of = tests.iter().filter(|test| test.flag == *flag).peekable();
            of.peek().is_none() || of.any(|test| test.matches(&verdict))
        });
        prop_assert_eq!(filter.admits(&verdict), each);
    }
}

#[test]
fn who_decided_is_asked_by_the_policys_name_alone() {
    let asks = |wanted: &[&str], unwanted: &[&str]| {
        let tests = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Filter { wanted: tests(wanted), unwanted: tests(unwanted), ..Filter::default() }.asks_who_decided()
    };
    assert!(!asks(&["pod=n/a", "reason=policy-denied"], &["verdict=allowed"]));
    assert!(asks(&["pod=n/a", "policy=n/deny"], &[]) && asks(&[], &["policy=n/deny"]));
}
