//! The gate of a new sandbox: nothing passes its interface from the moment it is seen until its endpoint is judged.
//!
//! Hooking an endpoint waits for several grace periods of the kernel, one endpoint after the other, and behind whatever is
//! being compiled or written; a pod's first container does not wait for that. A gate is a filter of clsact, attached in
//! a millisecond by whoever sees the interface: the entry of a slot that never has a classifier, which drops everything.
//! It goes when the endpoint carries what it is to carry; where there are no links, the endpoint's own filter takes its
//! place. Gates outlive the agent like everything that is attached.

use std::collections::BTreeSet;

use aya::Ebpf;
use netpol_common::Direction;
use tracing::{error, info};

use super::{
    Datapath, Error,
    hooks::{ENTRY, attach_filter, detach_filter},
    object,
};

/// A slot that no endpoint gets.
const NOBODY: u32 = 0;

/// Closes what is new.
pub struct Gate {
    /// The entries by direction.
    entries: Vec<(Direction, Ebpf)>,
    /// Interfaces that were there when it looked last; nothing until it has looked.
    known: Option<BTreeSet<u32>>,
}

impl Gate {
    /// Looks at the interfaces of sandboxes that there are now, and closes each that was not there before. At the first
    /// time nothing is new: of pods that were there before, it is not known yet whether anything restricts them.
    pub fn look(&mut self, present: &BTreeSet<u32>) {
        let Some(known) = self.known.replace(present.clone()) else { return };
        for ifindex in present.difference(&known) {
            match self.close(*ifindex) {
                Ok(interface) => info!(interface, "a new interface is closed until its pod is known"),
                // It is hooked nevertheless, a little later.
                Err(Error::NoInterface { .. }) => {}
                Err(error) => error!(
                    ifindex,
                    "cannot close a new interface before it is hooked: {:#}",
                    anyhow::Error::new(error)
                ),
            }
        }
    }

    fn close(&mut self, ifindex: u32) -> Result<String, Error> {
        let interface = Datapath::interface_name(ifindex)?;
        for (direction, object) in &mut self.entries {
            let entry = object::program(object, ENTRY)?;
            attach_filter(&interface, *direction, entry).map_err(|source| Error::Attach {
                interface: interface.clone(),
                direction: direction.name(),
                source,
            })?;
        }
        Ok(interface)
    }
}

impl Datapath {
    /// What closes new interfaces, on a thread of its own.
    ///
    /// # Errors
    ///
    /// When the kernel refuses its program.
    pub fn gate(&mut self) -> Result<Gate, Error> {
        // Egress first: what a pod sends is what cannot be taken back.
        let directions = [Direction::Egress, Direction::Ingress];
        let entries: Result<Vec<_>, Error> = directions
            .into_iter()
            .map(|direction| Ok((direction, self.entries.make(NOBODY, direction)?)))
            .collect();
        Ok(Gate { entries: entries?, known: None })
    }

    /// Takes the gate off an interface that carries all that its endpoint is to carry; one that has none is as it should
    /// be.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; the interface stays closed.
    pub fn open_gate(&self, slot: u32, ifindex: u32) -> Result<(), Error> {
        let Ok(interface) = Self::interface_name(ifindex) else { return Ok(()) };
        for direction in Direction::ALL {
            let replaced = !self.attach.by_links() && self.attached.contains(&(slot, ifindex, direction));
            if !replaced {
                detach_filter(&interface, direction)?;
            }
        }
        Ok(())
    }
}
