//! What every firewall is told, in the words of none: policies that select both pods of the node and let something into
//! them.

use std::net::Ipv4Addr;

use crate::path::traffic::{CONNECT_PORT, EXCHANGE_PORT, OTHER_PORT};

/// Pods of an application, which are what a policy names as its peers.
const PODS: u32 = 10;
/// The first address of pods elsewhere.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 250, 0, 0);
/// What the first policy lets in; each has a port of its own.
const FIRST_PORT: u16 = 8000;
/// The same once they were changed.
const FIRST_CHANGED_PORT: u16 = 9000;

/// The last part of the addresses of the node's two pods.
pub(super) const SERVER: u8 = 101;
pub(super) const CLIENT: u8 = 102;
/// The node's two pods: server and client.
pub(super) const LOCAL: [Ipv4Addr; 2] =
    [Ipv4Addr::new(10, 244, 0, SERVER), Ipv4Addr::new(10, 244, 0, CLIENT)];

/// TCP from the pods of an application to some ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) number: usize,
    pub(super) app: u32,
    pub(super) ports: Vec<u16>,
}

impl Policy {
    /// Its peers.
    pub(super) fn peers(&self, rules: &Rules) -> impl Iterator<Item = Ipv4Addr> {
        rules.pods(self.app)
    }
}

/// A rule set. Each policy has an application of its own; that of the last one is the client's, whose traffic it lets in.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) policies: Vec<Policy>,
}

/// A question: does a connection from there to a port of the server arrive?
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) from: Ipv4Addr,
    pub(super) port: u16,
    pub(super) arrives: bool,
}

impl Rules {
    /// With so many policies, and ten times as many peers.
    pub(super) fn new(policies: u16) -> Self {
        let of = |number: u16| {
            let ports = if number + 1 == policies {
                vec![EXCHANGE_PORT, CONNECT_PORT]
            } else {
                vec![FIRST_PORT + number]
            };
            Policy { number: number.into(), app: number.into(), ports }
        };
        Self { policies: (0..policies).map(of).collect() }
    }

    /// How many applications there are.
    pub(super) fn apps(&self) -> u32 {
        self.policies.len().try_into().unwrap_or(u32::MAX)
    }

    /// An application's pods.
    pub(super) fn pods(&self, app: u32) -> impl Iterator<Item = Ipv4Addr> {
        let clients = app + 1 == self.apps();
        let elsewhere = move |pod| Ipv4Addr::from_bits(ELSEWHERE.to_bits() + app * PODS + pod);
        (0..PODS).map(move |pod| if clients && pod == 0 { LOCAL[1] } else { elsewhere(pod) })
    }

    /// Changes a policy, any but the last: another application, and another port.
    pub(super) fn change(&mut self, number: u16) -> Option<&Policy> {
        let apps = self.apps();
        let policy = self.policies.split_last_mut()?.1.get_mut(usize::from(number))?;
        policy.app = (policy.app + 1) % apps;
        policy.ports = vec![FIRST_CHANGED_PORT + number];
        Some(policy)
    }

    /// What tells this rule set from others: of the first, the middle and the last policy, and some that were changed, a peer
    /// that is elsewhere and the client, each with every port of them and one that no policy has.
    pub(super) fn questions(&self) -> Vec<Question> {
        let last = self.policies.len() - 1;
        let asked = [0, 1, 2, last / 2, last].into_iter().filter(|number| *number <= last);
        let asked: Vec<&Policy> = asked.filter_map(|number| self.policies.get(number)).collect();
        let mut ports: Vec<u16> = asked.iter().flat_map(|policy| policy.ports.clone()).collect();
        ports.extend([FIRST_PORT, OTHER_PORT]);
        ports.sort_unstable();
        ports.dedup();
        // Those that it names now, and those that it named at first.
        let mut apps: Vec<u32> = asked.iter().map(|policy| policy.app).collect();
        apps.extend(asked.iter().filter_map(|policy| u32::try_from(policy.number).ok()));
        apps.sort_unstable();
        apps.dedup();
        let peers = apps.into_iter().filter_map(|app| Some((app, self.pods(app).nth(1)?)));
        let mut questions = Vec::new();
        for (app, from) in peers.chain([(self.apps() - 1, LOCAL[1])]) {
            for port in ports.iter().copied() {
                let arrives = self.policies.iter().any(|one| one.app == app && one.ports.contains(&port));
                questions.push(Question { from, port, arrives });
            }
        }
        questions
    }
}
