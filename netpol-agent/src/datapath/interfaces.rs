//! The table that says who sends what comes in by an interface: an endpoint, or any port of a bridge that is believed.

use std::collections::BTreeSet;

use netpol_common::tables::{INTERFACE_TRUSTED_BRIDGE, Interface};

use super::{
    Datapath, Error,
    apply::{insert, remove},
    raw::Raw,
};

/// The table, in errors.
const INTERFACES: &str = "INTERFACES";

impl Datapath {
    /// Says of a bridge whether the tag can be believed of packets that came in by it.
    ///
    /// # Errors
    ///
    /// When the map refuses the entry; the tag is then not believed.
    pub fn trust_bridge(&mut self, ifindex: u32, trusted: bool) -> Result<(), Error> {
        let interface = Interface { ifindex, kind: INTERFACE_TRUSTED_BRIDGE, slot: 0 };
        if !trusted {
            return self.forget_interface(interface);
        }
        self.say(interface)
    }

    /// The bridges of which the tag is believed, an earlier agent's among them.
    #[must_use]
    pub fn trusted_bridges(&self) -> BTreeSet<u32> {
        let interfaces = self.tables.interfaces.iter().flatten().map(|(_, interface)| interface.0);
        interfaces.filter(|i| i.kind == INTERFACE_TRUSTED_BRIDGE).map(|i| i.ifindex).collect()
    }

    /// Says what a packet's sender is that comes in by an interface.
    pub(super) fn say(&mut self, interface: Interface) -> Result<(), Error> {
        insert(&mut self.tables.interfaces, INTERFACES, interface.ifindex, interface)
    }

    /// Whether the table says this of an interface, and not something else by now.
    pub(super) fn is_said(&self, interface: Interface) -> bool {
        self.tables.interfaces.get(&Raw(interface.ifindex), 0).is_ok_and(|said| said.0 == interface)
    }

    /// An index is given again: what the table says by now of another interface stays.
    pub(super) fn forget_interface(&mut self, interface: Interface) -> Result<(), Error> {
        if !self.is_said(interface) {
            return Ok(());
        }
        remove(&mut self.tables.interfaces, INTERFACES, interface.ifindex)
    }
}
