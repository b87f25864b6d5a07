//! Who has the cluster: tests that only add objects of their own share it, those that stop parts or agents have it alone.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static USED: RwLock<()> = RwLock::new(());

/// Held by a test that stops nothing and changes nothing that others see.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    USED.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a test that stops parts of the cluster or agents, or starts agents with flags of its own.
pub fn exclusive() -> RwLockWriteGuard<'static, ()> {
    USED.write().unwrap_or_else(PoisonError::into_inner)
}
