//! Flows to a Service: judged by what stands behind it.

use std::net::{IpAddr, SocketAddr};

use netpol_common::{
    Direction, Reason,
    packet::{TCP, UDP},
    tables::{
        BACKEND_JUDGES_SENDER, ENDPOINT_TAG_TRUSTED, PEER_FRONTEND, PEER_SERVICE_ONLY, PORTS_ALL, PORTS_NONE,
    },
};
use netpol_tests::kernel::{
    Pod, Seen, Tables,
    craft::{at, echo, tcp, udp},
};
use netpol_tests::packet::{ACK, SYN};

use crate::scene::{BOTH, DENIED, FLOW_DENIED, NOT_ISOLATED, POLICY, UNREPORTED};

const DIFFER: Seen = Seen::Drops(Reason::BackendsDiffer);
const DEFERRED: Seen = Seen::Passes(Reason::Deferred);
const UNKNOWN: Seen = Seen::Drops(Reason::UnknownFrontend);

/// A client, isolated in egress, and the Service's addresses.
struct Service {
    tables: Tables,
    client: Pod,
    /// The class that is allowed TCP 8080.
    good: u32,
    /// A class that nothing is allowed with.
    bad: u32,
}

fn service_address(v4: bool) -> IpAddr {
    if v4 { "10.96.0.1".parse().unwrap() } else { "fd96::1".parse().unwrap() }
}

impl Service {
    fn new(flags: u32) -> Self {
        let mut tables = Tables::new();
        let client = tables.pod_with(flags, [0; 6]);
        let (good, bad) = (tables.class(), tables.class());
        let ports = tables.ports(&[(TCP, 8080, 8080)]);
        let set = tables.set(PORTS_NONE, &[(good, ports)]);
        tables.judge_by(&client, Direction::Egress, set);
        for v4 in BOTH {
            tables.peer(service_address(v4), 0, PEER_FRONTEND | PEER_SERVICE_ONLY);
        }
        Self { tables, client, good, bad }
    }

    /// TCP 80 of the Service leads to these backends (class, port, flags) from now on.
    fn leads_to(&mut self, backends: &[(u32, u16, u16)]) -> u32 {
        let id = self.tables.backends(backends);
        for v4 in BOTH {
            self.tables.frontend(service_address(v4), 80, TCP, id);
        }
        id
    }

    fn ends(&self, v4: bool) -> (SocketAddr, SocketAddr) {
        (at(self.client.address(v4), 4000), at(service_address(v4), 80))
    }

    /// The client opens a connection to the Service; both families say the same.
    fn opens(&mut self) -> Seen {
        let [four, six] = BOTH.map(|v4| {
            let (own, service) = self.ends(v4);
            self.tables.from(&self.client, &tcp(own, service, SYN))
        });
        assert_eq!(four, six);
        four
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_flow_is_judged_by_the_backends_at_their_own_port() {
    let mut service = Service::new(0);
    let (good, bad) = (service.good, service.bad);
    for (backends, expected) in [
        (&[(good, 8080, 0)][..], POLICY),
        (&[(good, 80, 0)], DENIED),
        (&[(bad, 8080, 0)], DENIED),
        (&[(good, 8080, 0), (good, 8080, 0)], POLICY),
        (&[(bad, 8080, 0), (good, 80, 0)], DENIED),
        (&[(good, 8080, 0), (bad, 8080, 0)], DIFFER),
        (&[(good, 8080, 0), (good, 8081, 0)], DIFFER),
        (&[(0, 8080, 0)], DENIED),
        (&[], Seen::Drops(Reason::NoBackend)),
    ] {
        service.leads_to(backends);
        assert_eq!(service.opens(), expected, "{backends:?}");
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn sixteen_backends_are_judged_and_more_are_closed() {
    let mut service = Service::new(0);
    let (good, bad) = (service.good, service.bad);
    service.leads_to(&[(good, 8080, 0); 16]);
    assert_eq!(service.opens(), POLICY);
    let mut last_is_bad = [(good, 8080, 0); 16];
    last_is_bad[15].0 = bad;
    service.leads_to(&last_is_bad);
    assert_eq!(service.opens(), DIFFER);
    service.leads_to(&[(good, 8080, 0); 17]);
    assert_eq!(service.opens(), DIFFER);
}

#[test]
#[ignore = "needs root and BPF"]
fn where_backends_differ_the_answer_is_left_to_local_ones_that_can_recognise_the_sender() {
    let local = BACKEND_JUDGES_SENDER;
    for (flags, trusted) in [(ENDPOINT_TAG_TRUSTED, true), (0, false)] {
        let mut service = Service::new(flags);
        let (good, bad) = (service.good, service.bad);
        let deferred = if trusted { DEFERRED } else { DIFFER };
        for (backends, expected) in [
            (&[(good, 8080, 0), (bad, 8080, local)][..], deferred),
            (&[(good, 8080, local), (bad, 8080, local)], deferred),
            // One of those that would be denied is elsewhere.
            (&[(good, 8080, 0), (bad, 8080, local), (bad, 8081, 0)], DIFFER),
            (&[(good, 8080, local), (bad, 8080, 0)], DIFFER),
            // Nothing to leave open.
            (&[(bad, 8080, local)], DENIED),
            (&[(good, 8080, local)], POLICY),
        ] {
            service.leads_to(backends);
            assert_eq!(service.opens(), expected, "{backends:?}");
        }
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_backend_of_its_own_service_may_reach_itself_there() {
    let mut service = Service::new(ENDPOINT_TAG_TRUSTED);
    let bad = service.bad;
    let id = service.leads_to(&[(bad, 8080, BACKEND_JUDGES_SENDER)]);
    assert_eq!(service.opens(), DENIED);
    let client = service.client;
    service.tables.member(id, &client);
    assert_eq!(service.opens(), DEFERRED);
    // Not where somebody else is among them that cannot judge.
    let id = service.leads_to(&[(bad, 8080, BACKEND_JUDGES_SENDER), (bad, 8081, 0)]);
    service.tables.member(id, &client);
    assert_eq!(service.opens(), DENIED);
}

#[test]
#[ignore = "needs root and BPF"]
fn an_address_that_only_services_use_is_closed_where_no_frontend_is_known() {
    let mut service = Service::new(0);
    let (good, client) = (service.good, service.client);
    service.leads_to(&[(good, 8080, 0)]);
    // A wide block allows all of it, the Service range included.
    service.tables.prefix("10.0.0.0/8", good, 0);
    service.tables.prefix("10.96.0.0/16", good, PEER_SERVICE_ONLY);
    let own = at(client.v4, 4000);
    let to = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert_eq!(service.tables.from(&client, &tcp(own, to("10.96.0.1:80"), SYN)), POLICY);
    assert_eq!(service.tables.from(&client, &tcp(own, to("10.96.0.1:8080"), SYN)), UNKNOWN);
    assert_eq!(service.tables.from(&client, &udp(own, to("10.96.0.1:80"))), UNKNOWN);
    assert_eq!(service.tables.from(&client, &tcp(own, to("10.96.0.2:8080"), SYN)), UNKNOWN);
    assert_eq!(service.tables.from(&client, &echo(client.v4, service_address(true), 1)), UNKNOWN);
    assert_eq!(service.tables.from(&client, &tcp(own, to("10.97.0.2:8080"), SYN)), POLICY);
}

#[test]
#[ignore = "needs root and BPF"]
fn an_address_of_the_node_is_itself_beside_its_node_ports() {
    let mut service = Service::new(0);
    let (good, bad, client) = (service.good, service.bad, service.client);
    let node: IpAddr = "10.5.0.1".parse().unwrap();
    service.tables.peer(node, good, PEER_FRONTEND);
    let id = service.tables.backends(&[(bad, 8080, 0)]);
    service.tables.frontend(node, 30_000, TCP, id);
    let own = at(client.v4, 4000);
    assert_eq!(service.tables.from(&client, &tcp(own, at(node, 30_000), SYN)), DENIED);
    assert_eq!(service.tables.from(&client, &tcp(own, at(node, 8080), SYN)), POLICY);
    assert_eq!(service.tables.from(&client, &tcp(own, at(node, 8081), SYN)), DENIED);
}

#[test]
#[ignore = "needs root and BPF"]
fn protocols_of_one_port_are_different_frontends() {
    let mut service = Service::new(0);
    let (good, client) = (service.good, service.client);
    let ports = service.tables.ports(&[(TCP, 8080, 8080), (UDP, 53, 53)]);
    let set = service.tables.set(PORTS_NONE, &[(good, ports)]);
    service.tables.judge_by(&client, Direction::Egress, set);
    let tcp_set = service.tables.backends(&[(good, 8081, 0)]);
    let udp_set = service.tables.backends(&[(good, 53, 0)]);
    service.tables.frontend(service_address(true), 53, TCP, tcp_set);
    service.tables.frontend(service_address(true), 53, UDP, udp_set);
    let (own, to) = (at(client.v4, 4000), at(service_address(true), 53));
    assert_eq!(service.tables.from(&client, &tcp(own, to, SYN)), DENIED);
    assert_eq!(service.tables.from(&client, &udp(own, to)), POLICY);
}

#[test]
#[ignore = "needs root and BPF"]
fn who_may_do_everything_needs_no_backend() {
    let mut service = Service::new(0);
    let client = service.client;
    let everything = service.tables.set(PORTS_ALL, &[]);
    service.tables.judge_by(&client, Direction::Egress, everything);
    let (own, to) = service.ends(true);
    assert_eq!(service.tables.from(&client, &tcp(own, to, SYN)), POLICY);
    service.tables.judge_by(&client, Direction::Egress, netpol_common::tables::SET_NONE);
    assert_eq!(service.tables.from(&client, &tcp(own, at(to.ip(), 81), SYN)), NOT_ISOLATED);
}

#[test]
#[ignore = "needs root and BPF"]
fn the_reply_comes_back_with_the_services_address() {
    let mut service = Service::new(0);
    let (good, client) = (service.good, service.client);
    service.leads_to(&[(good, 8080, 0)]);
    service.tables.judge_by(&client, Direction::Ingress, netpol_common::tables::SET_CLOSED);
    for v4 in BOTH {
        let (own, to) = service.ends(v4);
        assert_eq!(service.tables.to(&client, &tcp(to, own, SYN | ACK)), DENIED);
        assert_eq!(service.tables.from(&client, &tcp(own, to, SYN)), POLICY);
        assert_eq!(service.tables.to(&client, &tcp(to, own, SYN | ACK)), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_flow_stays_with_the_backends_that_it_was_judged_by() {
    let mut service = Service::new(0);
    let (good, bad, client) = (service.good, service.bad, service.client);
    service.leads_to(&[(good, 8080, 0)]);
    let (own, to) = service.ends(true);
    let back = tcp(to, own, SYN | ACK);
    assert_eq!(service.tables.from(&client, &tcp(own, to, SYN)), POLICY);
    assert_eq!(service.tables.to(&client, &back), UNREPORTED);
    // New connections are led elsewhere; the open one is where it was.
    service.leads_to(&[(bad, 8080, 0)]);
    service.tables.bump(to.ip());
    assert_eq!(service.tables.from(&client, &tcp(own, to, ACK)), UNREPORTED);
    assert_eq!(service.tables.from(&client, &tcp(at(own.ip(), 4001), to, SYN)), DENIED);
    assert_eq!(service.tables.from(&client, &tcp(own, to, ACK)), UNREPORTED);
}

#[test]
#[ignore = "needs root and BPF"]
fn a_flow_stops_when_its_backends_become_others() {
    let mut service = Service::new(0);
    let (good, bad, client) = (service.good, service.bad, service.client);
    let id = service.leads_to(&[(good, 8080, 0)]);
    let (own, to) = service.ends(true);
    assert_eq!(service.tables.from(&client, &tcp(own, to, SYN)), POLICY);
    // Its pod has got another label: the same set, with another class.
    let mut set = netpol_common::tables::BackendSet {
        id,
        count: 1,
        flags: 0,
        backends: [netpol_common::tables::Backend::UNUSED; netpol_common::tables::MAX_BACKENDS],
    };
    set.backends[0] = netpol_common::tables::Backend { class: bad, port: 8080, flags: 0 };
    service.tables.write(&netpol_policy::engine::TableOp::Backends(Box::new(set)));
    service.tables.bump(to.ip());
    assert_eq!(service.tables.from(&client, &tcp(own, to, ACK)), FLOW_DENIED);
}

#[test]
#[ignore = "needs root and BPF"]
fn a_frontend_whose_backends_are_not_there_is_closed() {
    let mut service = Service::new(0);
    for v4 in BOTH {
        service.tables.frontend(service_address(v4), 80, TCP, 4711);
    }
    assert_eq!(service.opens(), Seen::Drops(Reason::TableInconsistent));
}

#[test]
#[ignore = "needs root and BPF"]
fn the_ingress_of_a_service_address_is_an_ordinary_peer() {
    let mut service = Service::new(0);
    let (good, client) = (service.good, service.client);
    service.tables.peer(service_address(true), good, PEER_FRONTEND | PEER_SERVICE_ONLY);
    let ports = service.tables.ports(&[(TCP, 8080, 8080)]);
    let set = service.tables.set(PORTS_NONE, &[(good, ports)]);
    service.tables.judge_by(&client, Direction::Ingress, set);
    let from = at(service_address(true), 4000);
    assert_eq!(service.tables.to(&client, &tcp(from, at(client.v4, 8080), SYN)), POLICY);
    assert_eq!(service.tables.to(&client, &tcp(from, at(client.v4, 80), SYN)), DENIED);
}
