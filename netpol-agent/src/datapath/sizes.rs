//! How many entries each table holds. A table that is full refuses the new entry, which is then closed and reported;
//! nobody else is touched.

use netpol_common::{
    flow::table::WAYS,
    tables::{
        Peer, Rule,
        buckets::{RULES_BESIDE, buckets_for},
    },
};
use serde::{Deserialize, Serialize};

use super::{Error, buckets::Named as _, events};

/// More buckets of flows in one array (a gigabyte and more) the kernel would not take.
const MOST_BUCKETS: u32 = 1 << 21;

/// With fewer, one family might have none.
const LEAST_PEER_BUCKETS: u64 = 4;

/// Sizes of the tables, in entries. They are taken when a map is made; a pinned one keeps its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sizes {
    /// Addresses of pods and Services.
    pub peers: u32,
    /// CIDRs of policies.
    pub prefixes: u32,
    /// Policy sets: different combinations of policies that select local pods.
    pub policy_sets: u32,
    /// Rows: classes that a policy set treats otherwise than any peer.
    pub rules: u32,
    /// Different sets of ports.
    pub port_sets: u32,
    /// Chunks of 512 ports, for port sets of more than seven ranges.
    pub port_chunks: u32,
    /// Address, port and protocol of Services.
    pub frontends: u32,
    /// Sets of backends.
    pub backends: u32,
    /// Flows of one pod, half-open ones too; rounded up to a power of two.
    pub flows_per_pod: u32,
    /// Fragmented packets of the node that are under way.
    pub fragments: u32,
    /// Bytes of the ring of events of one CPU; a power of two.
    pub ring_bytes: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            peers: 131_072,
            prefixes: 32_768,
            policy_sets: 8192,
            rules: 262_144,
            port_sets: 8192,
            port_chunks: 65_536,
            frontends: 65_536,
            backends: 65_536,
            flows_per_pod: 16_384,
            fragments: 8192,
            ring_bytes: 262_144,
        }
    }
}

impl Sizes {
    /// Just enough to load the programs, in little memory.
    pub(super) fn small() -> Self {
        Self {
            peers: 16,
            prefixes: 16,
            policy_sets: 16,
            rules: 16,
            port_sets: 16,
            port_chunks: 16,
            frontends: 16,
            backends: 16,
            fragments: 16,
            ..Self::default()
        }
    }

    /// Buckets of each table of flows, a power of two.
    pub(super) fn flow_buckets(&self) -> u32 {
        self.flows_per_pod.div_ceil(WAYS as u32).clamp(1, MOST_BUCKETS).next_power_of_two()
    }

    /// Buckets of the table of addresses: room for all of them in each family.
    #[must_use]
    pub fn peer_buckets(&self) -> u32 {
        buckets_for(self.peers).clamp(LEAST_PEER_BUCKETS, MOST_BUCKETS.into()) as u32
    }

    /// How many addresses fit into the buckets and, where one of these is full, into the hash behind them, at least; of
    /// IPv6 alone up to a tenth fewer.
    pub(crate) const fn all_peers(&self) -> u32 {
        self.peers.saturating_mul(2)
    }

    /// Buckets of the table of rules: places for nearly twice as many, since they spread less evenly.
    pub(super) fn rule_buckets(&self) -> u32 {
        self.rules.div_ceil(RULES_BESIDE).clamp(1, MOST_BUCKETS)
    }

    /// How many rules fit into both of their tables, at least.
    pub(crate) const fn all_rules(&self) -> u32 {
        self.rules.saturating_mul(2)
    }

    /// The maps whose size can be chosen when the object is loaded.
    ///
    /// # Errors
    ///
    /// When the kernel does not say how many processors there are.
    pub(super) fn by_map(&self) -> Result<[(&'static str, u32); 12], Error> {
        Ok([
            (Peer::BUCKETS, self.peer_buckets()),
            (Rule::BUCKETS, self.rule_buckets()),
            ("PEERS", self.peers),
            ("PREFIXES", self.prefixes),
            ("POLICY_SETS", self.policy_sets),
            ("RULES", self.rules),
            ("PORT_SETS", self.port_sets),
            ("PORT_CHUNKS", self.port_chunks),
            ("FRONTENDS", self.frontends),
            ("BACKENDS", self.backends),
            ("FRAGMENTS", self.fragments),
            ("EVENTS", events::all_events(self)?),
        ])
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use netpol_common::{
        Addr,
        tables::RuleKey,
        tables::buckets::{Key as _, V4_WAYS, V6_WAYS, WORDS, v4_buckets},
    };

    use super::Sizes;

    /// How many addresses are taken in, until one finds no room; of each of these families.
    fn taken_in(sizes: &Sizes, families: &[bool]) -> [u32; 2] {
        let mut buckets = vec![0; sizes.peer_buckets() as usize];
        let (mut fit, mut elsewhere) = ([0, 0], 0);
        // Nodes with a /24 (or /64) of pods each, most of them half full.
        for (node, pod) in (0..=u16::MAX).flat_map(|node| (2..110).map(move |pod| (node, pod))) {
            for is_v4 in families {
                let [high, low] = node.to_be_bytes();
                let v4 = Addr::from(Ipv4Addr::new(10, high, low, pod));
                let v6 = Ipv6Addr::new(0xfd00, 0x10, 0x244, node, 0, 0, 0, pod.into());
                let addr = if *is_v4 { v4 } else { v6.into() };
                let bucket = &mut buckets[addr.place(sizes.peer_buckets()).bucket as usize];
                if *bucket < if *is_v4 { V4_WAYS } else { V6_WAYS } {
                    *bucket += 1;
                } else if elsewhere < sizes.peers {
                    elsewhere += 1;
                } else {
                    return fit;
                }
                fit[usize::from(*is_v4)] += 1;
            }
        }
        fit
    }

    #[test]
    fn at_least_as_many_addresses_fit_as_are_reported() {
        for peers in [1000, 4096, 131_072] {
            let sizes = Sizes { peers, ..Sizes::default() };
            let [_, of_v4] = taken_in(&sizes, &[true]);
            let [of_v6, _] = taken_in(&sizes, &[false]);
            let both = taken_in(&sizes, &[true, false]);
            let reported = sizes.all_peers();
            assert!(of_v4 >= reported && of_v6 >= reported / 10 * 9, "{of_v4}, {of_v6} of {reported}");
            assert!(both.iter().sum::<u32>() >= reported, "{both:?} of {reported}");
        }
    }

    #[test]
    fn at_least_as_many_rules_fit_as_are_reported() {
        // Each pod's policies speak of some classes, or those of one pod of all.
        for (rules, classes) in [(262_144, 50), (262_144, 1000), (4096, 64), (1000, 10), (1000, 2000)] {
            let sizes = Sizes { rules, ..Sizes::default() };
            let mut buckets = vec![0; sizes.rule_buckets() as usize];
            let keys = (2..8192).flat_map(|set| (1..=classes).map(move |class| RuleKey { set, class }));
            let (mut fit, mut elsewhere) = (0, 0);
            for key in keys {
                let bucket = &mut buckets[key.place(sizes.rule_buckets()).bucket as usize];
                if *bucket < WORDS {
                    *bucket += 1;
                } else if elsewhere < rules {
                    elsewhere += 1;
                } else {
                    break;
                }
                fit += 1;
            }
            assert!(fit >= sizes.all_rules().min(8190 * classes), "{fit} of {rules}, {classes} classes");
        }
    }

    #[test]
    fn the_smallest_table_has_a_bucket_for_each_family() {
        for peers in [0, 1, 16, 64] {
            let all = Sizes { peers, ..Sizes::default() }.peer_buckets();
            assert!((1..all).contains(&v4_buckets(all)), "{peers}: {} of {all}", v4_buckets(all));
        }
    }
}
