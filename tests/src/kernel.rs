//! The real programs in the kernel, given bytes instead of traffic: tables are written as the agent writes them, a
//! frame goes in by `BPF_PROG_TEST_RUN`, and the verdict, its event or its counter come out.
//!
//! It needs root and BPF, and nothing else: no namespaces, no interfaces, no other programs. So it runs on every kernel
//! that a virtual machine boots. Programs are loaded once for a whole test binary, as that takes a slow machine long;
//! every [`Tables`] begins empty.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a harness of tests: what cannot be set up ends the test"
)]

pub mod craft;
mod frames;
mod pins;
mod tables;

use std::sync::{Mutex, MutexGuard};

use netpol_agent::datapath::{Classifier, Datapath, Events, Options, Sizes, TestRun};
use netpol_common::{
    Addr, Direction, Reason,
    event::Event,
    flow::{Flow, FlowKey},
    tables::{ENDPOINT_RESERVED, Endpoint, INTERFACE_ENDPOINT, Interface},
};
use netpol_policy::engine::{HookLevel, Mirror, TableOp};

use self::pins::Pins;
pub use self::tables::{Pod, Tables};

/// An interface of which nothing is known: an uplink.
pub const UPLINK: u32 = 77;
/// No interface: as test runs have a socket, the node's own traffic.
pub const NODE: u32 = 0;

/// The programs and maps in the kernel.
pub struct Kernel {
    pub(crate) datapath: Datapath,
    events: Events,
    pub(crate) pins: Pins,
    /// The slot that the next pod gets: none is used twice, so that rates and fragments begin anew.
    pub(crate) next_slot: u32,
}

/// Where a frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// The interface by which it came to the node; 0 for none.
    pub by: u32,
    /// The tag that an earlier classifier wrote.
    pub tag: u32,
}

impl From<u32> for Came {
    fn from(by: u32) -> Self {
        Self { by, tag: 0 }
    }
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It passes, and is reported for this reason.
    Passes(Reason),
    /// It passes without an event.
    PassesUnreported,
    /// It is dropped, and reported for this reason.
    Drops(Reason),
    /// It is dropped and counted for this reason, without an event.
    DropsUnreported(Reason),
}

impl Seen {
    /// Whether it passes.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::Passes(_) | Self::PassesUnreported)
    }
}

static SHARED: Mutex<Option<Kernel>> = Mutex::new(None);

/// The kernel, for one test at a time.
pub struct Held(MutexGuard<'static, Option<Kernel>>);

impl Held {
    /// Waits for its turn, and loads the programs when it is the first.
    pub fn new() -> Self {
        // A test that failed has left no more than entries, which nobody else uses.
        let mut guard = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        guard.get_or_insert_with(|| Kernel::load(sizes()));
        Self(guard)
    }
}

impl Default for Held {
    fn default() -> Self {
        Self::new()
    }
}

impl std::ops::Deref for Held {
    type Target = Kernel;
    fn deref(&self) -> &Kernel {
        self.0.as_ref().expect("it was loaded")
    }
}

impl std::ops::DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Kernel {
        self.0.as_mut().expect("it was loaded")
    }
}

/// Large enough for every test, and small enough for a virtual machine.
#[must_use]
pub fn sizes() -> Sizes {
    Sizes { flows_per_pod: 1024, fragments: 1024, ring_bytes: 65_536, ..Sizes::default() }
}

/// Whether this is one of the virtual machines that other kernels are tried in, where everything takes longer.
#[must_use]
pub fn in_virtual_machine() -> bool {
    std::env::var_os("NETPOL_VM").is_some()
}

impl Kernel {
    /// Loads the programs below a folder of their own, which goes when the process ends.
    #[must_use]
    pub fn load(sizes: Sizes) -> Self {
        let pins = Pins::new();
        let options = Options { bpffs: pins.folder().to_owned(), sizes, ..Options::default() };
        let (mut datapath, _empty) =
            Datapath::open(options).unwrap_or_else(|error| panic!("{}", chain(&error)));
        let events = datapath.events().unwrap_or_else(|error| panic!("{}", chain(&error)));
        Self { datapath, events, pins, next_slot: netpol_common::tables::FIRST_SLOT }
    }

    /// As another agent would, which wants other sizes: it finds what the last one has pinned.
    pub fn reopen(&mut self, sizes: Sizes) {
        let options = Options { bpffs: self.pins.folder().to_owned(), sizes, ..Options::default() };
        let (mut datapath, _recovered) =
            Datapath::open(options).unwrap_or_else(|error| panic!("{}", chain(&error)));
        self.events = datapath.events().unwrap_or_else(|error| panic!("{}", chain(&error)));
        self.datapath = datapath;
    }

    /// Applies what the engine says. Instead of hooking an interface, it gives the slot its tables of flows, and tells
    /// the interface whose it is: frames come by [`Kernel::passes`] only. The tables of a slot that is given up are
    /// emptied and kept, since the kernel waits for all its readers whenever one is taken away or put in.
    pub fn apply(&mut self, operations: &[TableOp]) {
        let written: Vec<TableOp> = operations.iter().filter_map(without_hooks).collect();
        let failed = self.datapath.apply(&written);
        assert!(failed.is_empty(), "{failed:?}");
        for operation in operations {
            if let TableOp::RemoveEndpoint { slot } = operation {
                self.forget_flows(*slot);
            }
            let TableOp::Hook { slot, ifindex, level } = operation else { continue };
            if *level == HookLevel::None {
                self.pins.remove_interface(*ifindex);
            } else {
                self.pins.set_interface(Interface {
                    ifindex: *ifindex,
                    kind: INTERFACE_ENDPOINT,
                    slot: *slot,
                });
            }
            if *level == HookLevel::Full {
                self.datapath.make_flow_table(*slot).expect("tables of flows");
            }
        }
    }

    /// Says whether the tag of packets that come by a bridge can be believed.
    pub fn trust_bridge(&mut self, ifindex: u32, trusted: bool) {
        self.datapath.trust_bridge(ifindex, trusted).expect("an interface");
    }

    /// What the tables hold in the kernel, but for the endpoints.
    #[must_use]
    pub fn tables(&self) -> Mirror {
        let mut tables = Mirror::default();
        for operation in self.datapath.written().expect("tables that can be read") {
            tables.apply(&operation);
        }
        tables
    }

    /// Forgets every flow of a slot.
    pub fn forget_flows(&self, slot: u32) {
        let Some(table) = self.datapath.flow_table(slot) else { return };
        for (key, _) in table.flows() {
            table.forget(&key);
        }
    }

    /// Forgets one flow of a slot.
    pub fn forget_flow(&self, slot: u32, key: &FlowKey) {
        if let Some(table) = self.datapath.flow_table(slot) {
            table.forget(key);
        }
    }

    /// Makes every flow of a slot so many ticks older.
    pub fn age_flows(&self, slot: u32, ticks: u32) {
        let Some(table) = self.datapath.flow_table(slot) else { return };
        for (key, flow) in table.flows() {
            let last_seen = flow.last_seen.wrapping_sub(ticks);
            table.put(&key, &Flow { last_seen, ..flow });
        }
    }

    /// Runs a classifier on a frame and says whether it passes; events wait.
    pub fn passes(&mut self, classifier: Classifier, slot: u32, came: impl Into<Came>, frame: &[u8]) -> bool {
        let Came { by, tag } = came.into();
        let run = TestRun { classifier, slot, ingress_ifindex: by, tag, frame, repeat: 1 };
        let ran = self.datapath.test_run(run).unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert!(matches!(ran.action, -1 | 2), "neither next nor shot: {ran:?}");
        ran.passes()
    }

    /// Runs a classifier on a frame and says what became of it, with its event where there is one.
    pub fn judge(
        &mut self,
        classifier: Classifier,
        slot: u32,
        came: impl Into<Came>,
        frame: &[u8],
    ) -> (Seen, Option<Event>) {
        self.forget_events();
        let before = self.drops();
        let passes = self.passes(classifier, slot, came, frame);
        let mut events = self.take_events();
        assert!(events.len() < 2, "two events of one packet: {events:?}");
        let Some(event) = events.pop() else {
            if passes {
                return (Seen::PassesUnreported, None);
            }
            let counted: Vec<_> = self.drops().into_iter().filter(|one| !before.contains(one)).collect();
            let [(_, reason, _)] = *counted else { panic!("one packet was counted as {counted:?}") };
            return (Seen::DropsUnreported(reason), None);
        };
        let reason = Reason::from_number(event.reason).expect("an event with a reason");
        assert_eq!(reason.is_drop(), !passes, "the event says something else: {event:?}");
        assert_eq!(event.slot, slot, "another endpoint's event: {event:?}");
        (if passes { Seen::Passes(reason) } else { Seen::Drops(reason) }, Some(event))
    }

    fn drops(&self) -> Vec<(Direction, Reason, u64)> {
        let counters = self.datapath.counters().expect("counters");
        counters.verdicts.into_iter().filter(|(_, reason, _)| reason.is_drop()).collect()
    }

    /// The events that wait.
    pub fn take_events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.events.drain(&mut |_cpu, event| events.push(event));
        events
    }

    /// Throws away the events that wait.
    pub fn forget_events(&mut self) {
        self.events.drain(&mut |_cpu, _event| ());
    }
}

/// An operation as it is written to the tables alone.
fn without_hooks(operation: &TableOp) -> Option<TableOp> {
    match operation {
        TableOp::Hook { .. } => None,
        TableOp::RemoveEndpoint { slot } => {
            let value = Endpoint {
                judgements: [0; 2],
                v6: Addr::NONE,
                v4: 0,
                flags: 0,
                hardware: [0; 6],
                reserved: [0; ENDPOINT_RESERVED],
            };
            Some(TableOp::Endpoint { slot: *slot, value: Box::new(value) })
        }
        other => Some(other.clone()),
    }
}

/// An error with all its causes: the verifier's words are the last of them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        let tail: String =
            cause_text.chars().rev().take(4000).collect::<Vec<_>>().into_iter().rev().collect();
        text.push_str(": ");
        text.push_str(&tail);
        source = cause.source();
    }
    text
}
