//! Addresses of which something is known: pods, frontends, backends. What each is, is decided here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use netpol_common::{
    Addr,
    tables::{BACKENDS_NONE, CLASS_NONE, PEER_FRONTEND, PEER_SERVICE_ONLY, Peer, Prefix},
};

use super::{Engine, by_addr::ByAddr, cidr::Cidr, compile::Work, few::Few};

/// An address in the order of its bytes, so that those of a CIDR stand together.
pub(super) type Bytes = [u8; 16];

/// No pod.
const NOBODY: u32 = u32::MAX;

/// `PEER_*` stand for themselves among the bits of a state.
const PEER_FLAGS: u32 = PEER_FRONTEND | PEER_SERVICE_ONLY;
/// It has a value.
const VALUED: u8 = 1 << 6;
/// A pod has had it until a moment ago: what leads there leads nowhere.
const WAS_POD: u8 = 1 << 7;

const _: () = assert!(PEER_FLAGS < VALUED as u32);

/// What is known of an address, but for what few addresses have, which stands apart in [`Addresses`].
#[derive(Debug)]
pub(super) struct State {
    /// The pod that claims it, or the first of those that do.
    claim: u32,
    /// The one that has it.
    owner: u32,
    /// The set of backends that holds it, or the first of those that do.
    set: u32,
    class: u32,
    /// `PEER_*`, `VALUED` and `WAS_POD`.
    is: u8,
}

// There is one for each pod of the cluster.
const _: () = assert!(size_of::<State>() <= 20);

impl Default for State {
    fn default() -> Self {
        Self { claim: NOBODY, owner: NOBODY, set: BACKENDS_NONE, class: CLASS_NONE, is: 0 }
    }
}

impl State {
    /// The pod that has it.
    pub(super) fn owner(&self) -> Option<u32> {
        (self.owner != NOBODY).then_some(self.owner)
    }

    /// A pod has had it until a moment ago: what leads there leads nowhere.
    pub(super) const fn was_pod(&self) -> bool {
        self.is & WAS_POD != 0
    }

    pub(super) const fn class(&self) -> u32 {
        self.class
    }

    /// Its class, of which it is a user, and its flags; `None` before the first look.
    fn value(&self) -> Option<Prefix> {
        let flags = u32::from(self.is) & PEER_FLAGS;
        (self.is & VALUED != 0).then_some(Prefix { class: self.class, flags })
    }

    const fn set_value(&mut self, value: Prefix) {
        self.class = value.class;
        self.is = self.is & WAS_POD | VALUED | (value.flags & PEER_FLAGS) as u8;
    }
}

/// How many frontends are at an address, those that are gone for less than the grace period included.
#[derive(Debug, Default)]
struct Frontends {
    all: u32,
    /// How many of them are ClusterIPs.
    cluster: u32,
}

/// The addresses of which something is known.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    states: ByAddr<State>,
    dirty: BTreeSet<Bytes>,
    /// The pods that claim an address, where they are more than one.
    contested: BTreeMap<Bytes, Vec<u32>>,
    frontends: HashMap<Bytes, Frontends>,
    /// Sets of backends that hold an address, beside the first.
    more_sets: HashMap<Bytes, Few<u32>>,
    /// By when it is forgotten of an address that a pod has had it.
    forget_at: HashMap<Bytes, Duration>,
    timers: BTreeSet<(Duration, Bytes)>,
    /// Addresses whose claims have changed, which may be frontends.
    pub(super) claims_moved: BTreeSet<Bytes>,
}

impl Addresses {
    pub(super) fn get(&self, addr: &Addr) -> Option<&State> {
        self.states.get(addr)
    }

    /// The sets of backends that hold an address.
    pub(super) fn sets_of(&self, addr: &Addr) -> impl Iterator<Item = u32> {
        let first = self.states.get(addr).map(|s| s.set).filter(|set| *set != BACKENDS_NONE);
        // Without a first one there is no other.
        let more = first.and_then(|_| self.more_sets.get(&addr.to_bytes()));
        first.into_iter().chain(more.into_iter().flatten().copied())
    }

    fn touch(&mut self, addr: &Addr) -> &mut State {
        self.mark(addr);
        self.states.or_default(addr)
    }

    pub(super) fn mark(&mut self, addr: &Addr) {
        self.dirty.insert(addr.to_bytes());
    }

    /// The pods that claim an address.
    fn claims(&self, addr: &Addr) -> &[u32] {
        match self.states.get(addr) {
            None | Some(State { claim: NOBODY, .. }) => &[],
            Some(state) => match self.contested.get(&addr.to_bytes()) {
                Some(all) => all,
                None => std::slice::from_ref(&state.claim),
            },
        }
    }

    /// Whether some pod claims an address.
    pub(super) fn is_claimed(&self, bytes: &Bytes) -> bool {
        !self.claims(&Addr::from_bytes(*bytes)).is_empty()
    }

    fn is_of_interest(&self, addr: &Addr) -> bool {
        let state = self.states.get(addr);
        state.is_some_and(|s| s.claim != NOBODY || s.set != BACKENDS_NONE)
            || self.frontends.contains_key(&addr.to_bytes())
    }

    pub(super) fn claim(&mut self, addr: &Addr, pod: u32) {
        let bytes = addr.to_bytes();
        let state = self.touch(addr);
        if state.claim == NOBODY {
            state.claim = pod;
            self.claims_moved.insert(bytes);
        } else if !self.claims(addr).contains(&pod) {
            let first = self.claims(addr).to_vec();
            self.contested.entry(bytes).or_insert(first).push(pod);
        }
    }

    pub(super) fn unclaim(&mut self, addr: &Addr, pod: u32) {
        let bytes = addr.to_bytes();
        self.claims_moved.insert(bytes);
        let mut left = self.claims(addr).to_vec();
        left.retain(|p| *p != pod);
        self.touch(addr).claim = left.first().copied().unwrap_or(NOBODY);
        if left.len() < 2 {
            self.contested.remove(&bytes);
        } else {
            self.contested.insert(bytes, left);
        }
    }

    pub(super) fn add_frontend(&mut self, addr: &Addr, cluster: bool) {
        self.touch(addr);
        let frontends = self.frontends.entry(addr.to_bytes()).or_default();
        frontends.all += 1;
        frontends.cluster += u32::from(cluster);
    }

    pub(super) fn remove_frontend(&mut self, addr: &Addr, cluster: bool) {
        self.touch(addr);
        if let Some(frontends) = self.frontends.get_mut(&addr.to_bytes()) {
            frontends.all -= 1;
            frontends.cluster -= u32::from(cluster);
            if frontends.all == 0 {
                self.frontends.remove(&addr.to_bytes());
            }
        }
    }

    pub(super) fn join_set(&mut self, addr: &Addr, set: u32) {
        let state = self.touch(addr);
        if state.set == BACKENDS_NONE {
            state.set = set;
        } else if state.set != set {
            self.more_sets.entry(addr.to_bytes()).or_default().insert(set);
        }
    }

    pub(super) fn leave_set(&mut self, addr: &Addr, set: u32) {
        let mut left: Few<u32> = Few::default();
        for other in self.sets_of(addr).filter(|other| *other != set) {
            left.insert(other);
        }
        let first = left.first().copied();
        self.touch(addr).set = first.unwrap_or(BACKENDS_NONE);
        left.remove(&first.unwrap_or(BACKENDS_NONE));
        if left.is_empty() {
            self.more_sets.remove(&addr.to_bytes());
        } else {
            self.more_sets.insert(addr.to_bytes(), left);
        }
    }

    /// When something is forgotten.
    pub(super) fn next(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The addresses that more than one pod claims, and which.
    pub(super) fn contested(&self) -> impl Iterator<Item = (Addr, &[u32])> {
        self.contested.iter().map(|(bytes, claims)| (Addr::from_bytes(*bytes), &**claims))
    }

    /// The longest prefix around the addresses of a CIDR is another now.
    pub(super) fn mark_within(&mut self, cidr: &Cidr) {
        self.dirty.extend(self.states.within(cidr).map(Addr::to_bytes));
    }
}

impl Engine {
    /// Decides anew what each address is that may have changed.
    pub(super) fn refresh_addresses(&mut self, work: &mut Work) {
        while let Some((at, _)) = self.addresses.timers.first()
            && *at <= work.now
        {
            if let Some((_, bytes)) = self.addresses.timers.pop_first()
                && self.addresses.forget_at.get(&bytes).is_some_and(|at| *at <= work.now)
            {
                self.addresses.forget_at.remove(&bytes);
                let addr = Addr::from_bytes(bytes);
                if let Some(state) = self.addresses.states.get_mut(&addr)
                    && state.owner == NOBODY
                {
                    state.is &= !WAS_POD;
                    self.backends.dirty.extend(self.addresses.sets_of(&addr));
                }
            }
        }
        for bytes in std::mem::take(&mut self.addresses.dirty) {
            self.refresh_address(bytes, work);
        }
    }

    fn refresh_address(&mut self, bytes: Bytes, work: &mut Work) {
        let addr = Addr::from_bytes(bytes);
        let around = self.blocks.lookup(&addr);
        let tracked = self.addresses.is_of_interest(&addr);
        let owner = self.store.pods.owner(self.addresses.claims(&addr));
        let frontends = self.addresses.frontends.get(&bytes);
        let (frontends, cluster) = frontends.map_or((0, 0), |f| (f.all, f.cluster));

        let mut flags = if owner.is_some() { 0 } else { around.flags };
        if frontends != 0 {
            flags |= PEER_FRONTEND;
            if cluster != 0 && owner.is_none() {
                flags |= PEER_SERVICE_ONLY;
            }
        }
        let profile = owner.and_then(|o| self.store.pods.profile(o));
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
        let before = self.addresses.states.get(&addr);
        let held = before.and_then(State::value);
        let old = held.unwrap_or_else(|| self.mirror.peer_of(&addr));
        let old_owner = before.and_then(State::owner);
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
                && let Some(key) = owner.and_then(|owner| self.store.pods.key(owner))
            {
                work.own_moved.extend(self.endpoints.of_pod(&key));
            }
            if old.class != new.class && owner.is_some() {
                self.backends.left_class(old.class, work);
            }
        }
        if !tracked {
            self.addresses.states.remove(&addr);
            self.addresses.forget_at.remove(&bytes);
            return;
        }
        if held.is_none() || old != new || old_owner != owner {
            self.backends.dirty.extend(self.addresses.sets_of(&addr));
        }
        if old_owner.is_some() && owner.is_none() {
            let at = work.now + self.settings.frontend_grace;
            self.addresses.forget_at.insert(bytes, at);
            self.addresses.timers.insert((at, bytes));
        }
        if let Some(state) = self.addresses.states.get_mut(&addr) {
            if owner.is_some() {
                state.is |= WAS_POD;
            }
            state.owner = owner.unwrap_or(NOBODY);
            state.set_value(new);
        }
    }
}
