//! The packet in the kernel's hands.

use core::ptr::read_volatile;

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_pull_data, programs::TcContext};
use netpol_common::Direction;

/// Offsets beyond this are not looked at: headers that long do not exist.
const MAX_OFFSET: usize = 1023;

/// What the long way is asked.
#[derive(Clone, Copy)]
pub enum Asked {
    /// For the verdict.
    All = 0,
    /// Whether the sender is who it says.
    Source = 1,
}

/// A socket buffer at a tc hook.
#[derive(Clone, Copy)]
pub struct Skb(*mut __sk_buff);

macro_rules! field {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[inline(always)]
        #[must_use]
        pub fn $name(self) -> u32 {
            // SAFETY: the context is valid for the whole program; the verifier rewrites the access.
            unsafe { (*self.0).$name }
        }
    };
}

impl Skb {
    /// From the program's context.
    #[inline(always)]
    #[must_use]
    pub fn new(ctx: &TcContext) -> Self {
        Self(ctx.skb.skb)
    }

    /// From the context itself.
    #[inline(always)]
    #[must_use]
    pub const fn from_raw(context: *mut __sk_buff) -> Self {
        Self(context)
    }

    /// The context itself.
    #[inline(always)]
    #[must_use]
    pub const fn as_raw(self) -> *mut __sk_buff {
        self.0
    }

    /// Length in bytes, also of what is not linear.
    #[inline(always)]
    #[must_use]
    pub fn length(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).len }
    }

    field! {
        /// Whether a VLAN tag was taken off by the device.
        vlan_present
    }
    field! {
        /// The interface by which the packet came to the node, 0 when the node made it.
        ingress_ifindex
    }
    field! {
        /// The tag.
        tc_index
    }

    /// Writes the tag.
    #[inline(always)]
    pub fn set_tc_index(self, tag: u32) {
        // SAFETY: as above; the field may be written by classifiers.
        unsafe { (*self.0).tc_index = tag };
    }

    /// The first word of the control buffer, in which the entry leaves its cell of `programs`: the slot and the direction.
    #[inline(always)]
    #[must_use]
    pub fn cell(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).cb[0] }
    }

    /// The endpoint's slot.
    #[inline(always)]
    #[must_use]
    pub fn slot(self) -> u32 {
        self.cell() >> 1
    }

    /// Where the packet goes, as the pod sees it.
    #[inline(always)]
    #[must_use]
    pub fn direction(self) -> Direction {
        if self.cell() & 1 == Direction::Egress as u32 { Direction::Egress } else { Direction::Ingress }
    }

    /// Whether the packet comes from the pod.
    #[inline(always)]
    #[must_use]
    pub fn is_egress(self) -> bool {
        matches!(self.direction(), Direction::Egress)
    }

    /// What the long way is asked: [`Asked`] as a number.
    #[inline(always)]
    #[must_use]
    pub fn asked(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).cb[3] }
    }

    /// Says what the long way is asked.
    #[inline(always)]
    pub fn ask(self, what: Asked) {
        // SAFETY: as above; the control buffer may be written by classifiers.
        unsafe { (*self.0).cb[3] = what as u32 };
    }

    /// Leaves the cell for the classifier that is called next.
    #[inline(always)]
    pub fn set_cell(self, cell: u32) {
        // SAFETY: as above; the control buffer may be written by classifiers.
        unsafe { (*self.0).cb[0] = cell };
    }

    /// The interface by which the packet came to the node (0 when the node made it), and its tag, as the entry of
    /// the pod's ingress has found them.
    #[inline(always)]
    #[must_use]
    pub fn origin(self) -> (u32, u32) {
        // SAFETY: as above.
        unsafe { ((*self.0).cb[1], (*self.0).cb[2]) }
    }

    /// Leaves where the packet came from for the classifier that is called next.
    ///
    /// The classifier does not look itself, so that a test run, which can set the control buffer on every kernel, can
    /// say what it cannot say otherwise: a tag, and before 5.15 the interface.
    #[inline(always)]
    pub fn set_origin(self, ingress_ifindex: u32, tag: u32) {
        // SAFETY: as above.
        unsafe {
            (*self.0).cb[1] = ingress_ifindex;
            (*self.0).cb[2] = tag;
        }
    }

    /// Whether a socket holds the packet.
    #[inline(always)]
    #[must_use]
    pub fn has_socket(self) -> bool {
        // SAFETY: as above; the pointer is only compared.
        unsafe { !(*self.0).__bindgen_anon_2.sk.is_null() }
    }

    /// Makes the first `len` bytes linear. Pointers into the packet are void afterwards.
    #[inline(always)]
    pub fn pull(self, len: u32) {
        // SAFETY: a helper call with a valid context. On failure the packet stays as it is, and is then too short.
        unsafe { bpf_skb_pull_data(self.0, len) };
    }

    #[inline(always)]
    fn data(self) -> usize {
        // SAFETY: as above. Volatile, since as widened values these are no packet pointers to the verifier any more.
        unsafe { read_volatile(&raw const (*self.0).data) as usize }
    }

    #[inline(always)]
    fn data_end(self) -> usize {
        // SAFETY: as above.
        unsafe { read_volatile(&raw const (*self.0).data_end) as usize }
    }

    /// The first bytes of the frame as a plain struct of at least two bytes, as in [`at`](Self::at); `None` when they are not in
    /// the linear part.
    #[inline(always)]
    #[must_use]
    pub fn first<T>(self) -> Option<*const T> {
        const { assert!(size_of::<T>() > 1) };
        let start = self.data();
        if start + size_of::<T>() > self.data_end() {
            return None;
        }
        Some(start as *const T)
    }

    /// The bytes at `offset` as a plain struct of at least two bytes (the verifier learns nothing from the comparison
    /// that a single byte is compiled to); `None` when they are not in the linear part.
    #[inline(always)]
    #[must_use]
    pub fn at<T>(self, offset: usize) -> Option<*const T> {
        const { assert!(size_of::<T>() > 1) };
        let mut offset = offset;
        // SAFETY: no instruction with an effect; it hides the offset from the optimizer, which would otherwise fold
        // it into other arithmetic that the verifier cannot follow.
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) offset) };
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.data() + offset;
        if start + size_of::<T>() > self.data_end() {
            return None;
        }
        Some(start as *const T)
    }

    /// Copies the bytes at `offset`.
    #[inline(always)]
    #[must_use]
    pub fn read<T: Copy>(self, offset: usize) -> Option<T> {
        // SAFETY: the bounds were checked against the end of the packet; T is made of integers. The kernel aligns IP
        // headers to four bytes, and everything behind them counts in fours.
        self.at::<T>(offset).map(|p| unsafe { p.read() })
    }
}
