//! The steps of the decision function, each a function of its own: the verifier walks it once, and its stack is there only
//! while it runs.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::decide::{Case, Left, Steps};

use crate::{
    called::Called,
    flows::Tracked,
    maps::{self, Scratch},
    skb::Skb,
};

/// The steps for the packet of a context. All else that they work with stands in the working memory of this CPU, of which
/// nothing is held while one of them is called.
pub struct Apart(*mut __sk_buff);

impl Apart {
    /// For a packet that was read, and where it was met.
    #[inline(always)]
    #[must_use]
    pub const fn of(skb: Skb) -> Self {
        Self(skb.as_raw())
    }

    /// Takes one step over the working memory.
    #[inline(always)]
    fn with<R>(&mut self, step: impl FnOnce(&mut Case<'_, Called, Tracked<'_>>) -> R) -> Option<R> {
        let scratch = maps::SCRATCH.get_ptr_mut(0)?;
        // SAFETY: the cell of this CPU, on which no other classifier runs meanwhile.
        let Scratch { packet, arrival, decision, work, way, place, .. } = unsafe { &mut *scratch };
        let flows = &mut Tracked::found(arrival.now, way, place);
        let direction = Skb::from_raw(self.0).direction();
        Some(step(&mut Case { tables: &Called, flows, packet, arrival, direction, work, out: decision }))
    }
}

impl Steps for Apart {
    #[inline(always)]
    fn first_look(&mut self) -> Left {
        match netpol_first_look(self.0) as u8 {
            NOTHING => Left::Nothing,
            LATER_FRAGMENT => Left::LaterFragment,
            KNOWN_BY_ERROR => Left::KnownByError,
            KNOWN => Left::Known,
            RENEWED => Left::Renewed,
            // What is none of these numbers cannot come back, and would be judged.
            _ => Left::New,
        }
    }
    #[inline(always)]
    fn later_fragment(&mut self) {
        netpol_later_fragment(self.0);
    }
    #[inline(always)]
    fn known_flow(&mut self, error: bool) {
        netpol_known_flow(self.0, error.into());
    }
    #[inline(always)]
    fn find_opener(&mut self, again: bool) {
        netpol_find_opener(self.0, again.into());
    }
    #[inline(always)]
    fn open_flow(&mut self) {
        netpol_open_flow(self.0);
    }
    #[inline(always)]
    fn remember_first_fragment(&mut self) {
        self.with(|case| case.remember_first_fragment());
    }
}

const NOTHING: u8 = Left::Nothing as u8;
const LATER_FRAGMENT: u8 = Left::LaterFragment as u8;
const KNOWN_BY_ERROR: u8 = Left::KnownByError as u8;
const KNOWN: u8 = Left::Known as u8;
const RENEWED: u8 = Left::Renewed as u8;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netpol_first_look(context: *mut __sk_buff) -> u64 {
    Apart(context).with(|case| case.first_look()).unwrap_or(Left::New) as u64
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netpol_later_fragment(context: *mut __sk_buff) -> u64 {
    Apart(context).with(|case| case.later_fragment());
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netpol_known_flow(context: *mut __sk_buff, error: u64) -> u64 {
    Apart(context).with(|case| case.known_flow(error != 0));
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netpol_find_opener(context: *mut __sk_buff, again: u64) -> u64 {
    Apart(context).with(|case| case.find_opener(again != 0));
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netpol_open_flow(context: *mut __sk_buff) -> u64 {
    Apart(context).with(|case| case.open_flow());
    0
}
