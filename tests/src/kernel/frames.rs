//! Frames from and to the pods of [`Tables`], and what became of them.

use netpol_agent::datapath::Classifier;
use netpol_common::{
    event::Event,
    flow::{Flow, FlowKey},
};

use super::{Came, Pod, Seen, Tables, UPLINK};

impl Tables {
    /// The pod sends a frame.
    pub fn from(&mut self, pod: &Pod, frame: &[u8]) -> Seen {
        self.run(Classifier::FromPod, pod.slot, pod.ifindex, frame).0
    }

    /// A frame arrives at the pod by the uplink.
    pub fn to(&mut self, pod: &Pod, frame: &[u8]) -> Seen {
        self.to_via(UPLINK, pod, frame)
    }

    /// A frame arrives at the pod by an interface, perhaps with a tag; by 0 when the node made it.
    pub fn to_via(&mut self, came: impl Into<Came>, pod: &Pod, frame: &[u8]) -> Seen {
        self.run(Classifier::ToPod, pod.slot, came, frame).0
    }

    /// The pod, which no policy selects, sends a frame where only its source is checked.
    pub fn checked(&mut self, pod: &Pod, frame: &[u8]) -> Seen {
        self.run(Classifier::SourceCheck, pod.slot, pod.ifindex, frame).0
    }

    /// Runs a classifier, and gives its event too.
    pub fn run(
        &mut self,
        classifier: Classifier,
        slot: u32,
        came: impl Into<Came>,
        frame: &[u8],
    ) -> (Seen, Option<Event>) {
        self.kernel.judge(classifier, slot, came, frame)
    }

    /// The pod sends a frame, and nobody looks what became of it.
    pub fn run_quietly(&mut self, pod: &Pod, frame: &[u8]) {
        self.kernel.passes(Classifier::FromPod, pod.slot, pod.ifindex, frame);
        self.kernel.forget_events();
    }

    /// The pod is sent a frame, and nobody looks what became of it.
    pub fn run_quietly_to(&mut self, pod: &Pod, frame: &[u8]) {
        self.kernel.passes(Classifier::ToPod, pod.slot, UPLINK, frame);
        self.kernel.forget_events();
    }

    /// The pod sends a frame many times; says how many events there were.
    pub fn run_many(&mut self, pod: &Pod, frame: &[u8], times: usize) -> usize {
        self.kernel.forget_events();
        let mut events = 0;
        for _ in 0..times {
            self.kernel.passes(Classifier::FromPod, pod.slot, pod.ifindex, frame);
            events += self.kernel.take_events().len();
        }
        events
    }

    /// Makes the pod's flows so many ticks older.
    pub fn age_flows(&self, pod: &Pod, ticks: u32) {
        self.kernel.age_flows(pod.slot, ticks);
    }

    /// Opens the tables again, as an agent does that wants so many flows for each pod.
    pub fn reopen(&mut self, flows_per_pod: u32) {
        self.kernel.reopen(super::Sizes { flows_per_pod, ..super::sizes() });
    }

    /// What does not go the short way goes nowhere from now on.
    pub fn take_the_long_way_off(&mut self) {
        self.kernel.pins.take_the_long_way_off();
    }

    /// Opens the tables again, as the next agent does.
    pub fn reopen_as_it_was(&mut self) {
        self.kernel.reopen(super::sizes());
    }

    /// Whether the pod can send a frame, reported or not.
    pub fn passes_from(&mut self, pod: &Pod, frame: &[u8]) -> bool {
        self.kernel.passes(Classifier::FromPod, pod.slot, pod.ifindex, frame)
    }

    /// Whether the pod, which no policy selects, can send a frame where only its source is checked.
    pub fn passes_checked(&mut self, pod: &Pod, frame: &[u8]) -> bool {
        self.kernel.passes(Classifier::SourceCheck, pod.slot, pod.ifindex, frame)
    }

    /// The pod's flows.
    #[must_use]
    pub fn flows(&self, pod: &Pod) -> Vec<(FlowKey, Flow)> {
        self.kernel.datapath.flow_table(pod.slot).map(|table| table.flows()).unwrap_or_default()
    }

    /// What the kernel has counted.
    #[must_use]
    pub fn counters(&self) -> netpol_agent::datapath::Counters {
        self.kernel.datapath.counters().expect("counters")
    }
}
