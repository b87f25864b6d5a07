//! Runs a classifier on bytes without any interface (`BPF_PROG_TEST_RUN`), for the tests in the kernel and the bench.

mod common_shape;
mod measured;

use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};

use netpol_common::tables::program_cell;

use super::{Classifier, Datapath, Error, object};

pub use common_shape::CommonShape;
pub use measured::{Cycle, Measured};

/// The context that the kernel takes: `struct __sk_buff`, of which only these fields may be set.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Context {
    before: [u32; 9],
    ingress_ifindex: u32,
    ifindex: u32,
    tc_index: u32,
    control: [u32; 5],
    after: [u32; 31],
}

const _: () = assert!(size_of::<Context>() == 192);

/// The loopback interface, which is in every network namespace.
const LOOPBACK: u32 = 1;

/// What a classifier is run on. A test run always has a socket, so with no ingress interface it is the node's own
/// traffic.
#[derive(Clone, Copy, Debug)]
pub struct TestRun<'a> {
    /// As what.
    pub classifier: Classifier,
    /// The endpoint.
    pub slot: u32,
    /// The interface by which the packet came to the node; 0 for one that the node made.
    pub ingress_ifindex: u32,
    /// What an earlier hook wrote to the packet.
    pub tag: u32,
    /// The frame, from its Ethernet header on; at least 34 bytes for IPv4 and 54 for IPv6, or the kernel refuses it.
    pub frame: &'a [u8],
    /// How often.
    pub repeat: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// tc's action: -1 for "next", 2 for "shot".
    pub action: i32,
    /// Mean time of one run.
    pub took: Duration,
}

impl Ran {
    /// Whether the packet passes.
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.action == -1
    }
}

impl Datapath {
    /// Runs one of the classifiers.
    ///
    /// # Errors
    ///
    /// When there is no such classifier, or the kernel refuses the frame.
    pub fn test_run(&mut self, run: TestRun<'_>) -> Result<Ran, Error> {
        let program = object::program(&mut self.object, run.classifier.program())?;
        // The classifiers know the interface from their entry, so the packet itself need not say it: kernels before
        // 5.15 let nobody set it.
        run_with(program, run, 0)
    }
}

/// Runs any classifier, such as the empty one that the bench compares with.
///
/// # Errors
///
/// When the kernel refuses the frame.
pub fn test_run(program: &SchedClassifier, run: TestRun<'_>) -> Result<Ran, Error> {
    run_with(program, run, run.ingress_ifindex)
}

fn run_with(program: &SchedClassifier, run: TestRun<'_>, ingress_ifindex: u32) -> Result<Ran, Error> {
    let context = Context {
        ingress_ifindex,
        ifindex: LOOPBACK,
        control: [program_cell(run.slot, run.classifier.direction()), run.ingress_ifindex, run.tag, 0, 0],
        ..Context::default()
    };
    // SAFETY: plain integers without padding, read as bytes while the context lives.
    let bytes =
        unsafe { std::slice::from_raw_parts((&raw const context).cast::<u8>(), size_of::<Context>()) };
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(run.frame),
            ctx_in: Some(bytes),
            repeat: run.repeat,
            ..TestRunOptions::default()
        })
        .map_err(|source| Error::Program { name: run.classifier.program().to_owned(), source })?;
    Ok(Ran { action: result.return_value as i32, took: result.duration })
}
