//! Addresses of which something is known: pods, frontends, backends. What each is, is decided here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use netpol_common::{
    Addr,
    tables::{CLASS_NONE, PEER_FRONTEND, PEER_SERVICE_ONLY, Peer, Prefix},
};

use super::{Engine, cidr::Cidr, compile::Work, few::Few};

/// An address in the order of its bytes, so that those of a CIDR stand together.
pub(super) type Bytes = [u8; 16];

/// What is known of an address.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Pods that claim it.
    claims: Vec<u32>,
    /// The one that has it.
    pub(super) owner: Option<u32>,
    /// A pod has had it until a moment ago: what leads there leads nowhere.
    pub(super) was_pod: bool,
    forget_at: Duration,
    /// Its class, of which it is a user; `None` before the first look.
    value: Option<Prefix>,
    /// Frontends at this address, those that are gone for less than the grace period included.
    frontends: u32,
    /// How many of them are ClusterIPs.
    cluster: u32,
    /// Sets of backends that hold it.
    pub(super) sets: Few<u32>,
}

impl State {
    pub(super) fn class(&self) -> u32 {
        self.value.map_or(CLASS_NONE, |v| v.class)
    }

    fn is_of_interest(&self) -> bool {
        !self.claims.is_empty() || self.frontends != 0 || !self.sets.is_empty()
    }
}

/// The addresses of which something is known.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    states: BTreeMap<Bytes, State>,
    dirty: BTreeSet<Bytes>,
    /// Addresses that more than one pod claims.
    contested: BTreeSet<Bytes>,
    /// By when it is forgotten of an address that a pod has had it.
    timers: BTreeSet<(Duration, Bytes)>,
    /// Addresses whose claims have changed, which may be frontends.
    pub(super) claims_moved: BTreeSet<Bytes>,
}

impl Addresses {
    pub(super) fn get(&self, addr: &Addr) -> Option<&State> {
        self.states.get(&addr.to_bytes())
    }

    /// The sets of backends that hold an address.
    pub(super) fn sets_of(&self, addr: &Addr) -> impl Iterator<Item = u32> {
        self.states.get(&addr.to_bytes()).into_iter().flat_map(|s| s.sets.iter().copied())
    }

    fn touch(&mut self, addr: &Addr) -> &mut State {
        let bytes = addr.to_bytes();
        self.dirty.insert(bytes);
        self.states.entry(bytes).or_default()
    }

    pub(super) fn mark(&mut self, addr: &Addr) {
        self.dirty.insert(addr.to_bytes());
    }

    /// Whether some pod claims an address.
    pub(super) fn is_claimed(&self, bytes: &Bytes) -> bool {
        self.states.get(bytes).is_some_and(|s| !s.claims.is_empty())
    }

    pub(super) fn claim(&mut self, addr: &Addr, pod: u32) {
        let claims = &mut self.touch(addr).claims;
        if !claims.contains(&pod) {
            let is_first = claims.is_empty();
            claims.push(pod);
            if claims.len() > 1 {
                self.contested.insert(addr.to_bytes());
            }
            if is_first {
                self.claims_moved.insert(addr.to_bytes());
            }
        }
    }

    pub(super) fn unclaim(&mut self, addr: &Addr, pod: u32) {
        self.claims_moved.insert(addr.to_bytes());
        let claims = &mut self.touch(addr).claims;
        claims.retain(|p| *p != pod);
        if claims.len() < 2 {
            self.contested.remove(&addr.to_bytes());
        }
    }

    pub(super) fn add_frontend(&mut self, addr: &Addr, cluster: bool) {
        let state = self.touch(addr);
        state.frontends += 1;
        state.cluster += u32::from(cluster);
    }

    pub(super) fn remove_frontend(&mut self, addr: &Addr, cluster: bool) {
        let state = self.touch(addr);
        state.frontends = state.frontends.saturating_sub(1);
        state.cluster = state.cluster.saturating_sub(u32::from(cluster));
    }

    pub(super) fn join_set(&mut self, addr: &Addr, set: u32) {
        self.touch(addr).sets.insert(set);
    }

    pub(super) fn leave_set(&mut self, addr: &Addr, set: u32) {
        self.touch(addr).sets.remove(&set);
    }

    /// When something is forgotten.
    pub(super) fn next(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The addresses that more than one pod claims, and which.
    pub(super) fn contested(&self) -> impl Iterator<Item = (Addr, &[u32])> {
        let claims = |b: &Bytes| self.states.get(b).map(|s| &*s.claims).unwrap_or_default();
        self.contested.iter().map(move |b| (Addr::from_bytes(*b), claims(b)))
    }

    /// The longest prefix around the addresses of a CIDR is another now.
    pub(super) fn mark_within(&mut self, cidr: &Cidr) {
        let (from, to) = (cidr.addr().to_bytes(), cidr.last());
        let within = self.states.range(from..=to).map(|(b, _)| *b);
        self.dirty.extend(within.filter(|b| cidr.contains(&Cidr::host(Addr::from_bytes(*b)))));
    }
}

impl Engine {
    /// Decides anew what each address is that may have changed.
    pub(super) fn refresh_addresses(&mut self, work: &mut Work) {
        while let Some((at, _)) = self.addresses.timers.first()
            && *at <= work.now
        {
            if let Some((_, bytes)) = self.addresses.timers.pop_first()
                && let Some(state) = self.addresses.states.get_mut(&bytes)
                && state.owner.is_none()
                && state.forget_at <= work.now
            {
                state.was_pod = false;
                self.backends.dirty.extend(&state.sets);
            }
        }
        for bytes in std::mem::take(&mut self.addresses.dirty) {
            self.refresh_address(bytes, work);
        }
    }

    fn refresh_address(&mut self, bytes: Bytes, work: &mut Work) {
        let addr = Addr::from_bytes(bytes);
        let around = self.blocks.lookup(&addr);
        let known = self.addresses.states.get(&bytes).filter(|s| s.is_of_interest());
        let owner = known.and_then(|s| self.pods.owner(&s.claims));
        let (frontends, cluster) = known.map_or((0, 0), |s| (s.frontends, s.cluster));
        let tracked = known.is_some();

        let mut flags = if owner.is_some() { 0 } else { around.flags };
        if frontends != 0 {
            flags |= PEER_FRONTEND;
            if cluster != 0 && owner.is_none() {
                flags |= PEER_SERVICE_ONLY;
            }
        }
        let profile = owner.and_then(|o| self.pods.get(o)).and_then(|p| p.profile);
        let own = profile.and_then(|p| self.profiles.get(p)).map(|p| p.features.clone());
        let mut class = around.class;
        if tracked {
            class = match own {
                Some(own) if !own.is_empty() => {
                    // A pod inside a block is in both.
                    let mut all = self.classes.features(around.class).to_vec();
                    all.extend_from_slice(&own);
                    all.sort_unstable();
                    self.classes.acquire(&all, &mut self.features, &mut work.rules)
                }
                _ => {
                    let all = self.classes.features(around.class).to_vec();
                    self.classes.acquire(&all, &mut self.features, &mut work.rules)
                }
            };
        }
        let new = Prefix { class, flags };
        let before = self.addresses.states.get(&bytes);
        let held = before.and_then(|s| s.value);
        let old = held.unwrap_or_else(|| self.mirror.peer_of(&addr));
        let old_owner = before.and_then(|s| s.owner);
        if let Some(held) = held {
            self.classes.release(held.class, work.batch);
        }

        if (owner.is_some() || frontends != 0) && new != around {
            work.peers.push(Peer { addr, class, flags });
        } else {
            work.peers_gone.push(addr);
        }
        if old != new {
            work.moved.insert(bytes);
            if old.class != new.class
                && let Some(owner) = owner
                && let Some(pod) = self.pods.get(owner)
            {
                work.own_moved.extend(self.endpoints.of_pod(&pod.object.key));
            }
            if old.class != new.class && owner.is_some() {
                self.backends.left_class(old.class, work);
            }
        }
        if !tracked {
            self.addresses.states.remove(&bytes);
            return;
        }
        if let Some(state) = self.addresses.states.get_mut(&bytes) {
            if held.is_none() || old != new || old_owner != owner {
                self.backends.dirty.extend(&state.sets);
            }
            state.was_pod |= owner.is_some();
            if old_owner.is_some() && owner.is_none() {
                state.forget_at = work.now + self.settings.frontend_grace;
                self.addresses.timers.insert((state.forget_at, bytes));
            }
            state.owner = owner;
            state.value = Some(new);
        }
    }
}
