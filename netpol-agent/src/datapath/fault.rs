//! Where an agent of the tests ends, as if it were killed there: between any two changes of what the kernel holds. In what
//! is shipped there is no such place.

/// How many of these places the agent of a test passes before it ends.
#[cfg(feature = "fault-points")]
const VARIABLE: &str = "NETPOL_FAULT_AFTER";

/// A place where the agent may end.
#[cfg(feature = "fault-points")]
pub(super) fn point() {
    use std::sync::{
        LazyLock,
        atomic::{AtomicI64, Ordering},
    };
    static LEFT: LazyLock<AtomicI64> = LazyLock::new(|| {
        let left = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
        AtomicI64::new(left.unwrap_or(i64::MAX))
    });
    if LEFT.fetch_sub(1, Ordering::Relaxed) == 0 {
        // No handler runs, nothing is tidied up.
        let _killed = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}

/// A place where the agent may end.
#[cfg(not(feature = "fault-points"))]
pub(super) const fn point() {}
