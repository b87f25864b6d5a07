//! A classifier of the shape that policy engines on eBPF commonly have, with tables of its own: what the bench measures ours
//! against. The agent uses none of it.

use std::net::Ipv4Addr;

use aya::{
    EbpfLoader,
    maps::{HashMap, LpmTrie, Map, MapError, RingBuf, lpm_trie::Key},
};

use super::{Measured, Ran, TestRun};
use crate::datapath::{Error, object};

/// Ports that one peer's entry has room for.
const PORTS: usize = 24;

/// The program over empty tables, for one pod that is isolated.
pub struct CommonShape(Measured);

impl CommonShape {
    /// Loads it; `logs` says whether a new flow makes an event.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    pub fn load(logs: bool) -> Result<Self, Error> {
        let logs = u32::from(logs);
        let mut loader = EbpfLoader::new();
        loader.override_global("LOGS", &logs, true);
        let mut this = Self(Measured::load(&mut loader, object::COMMON_SHAPE, "common_shape")?);
        for key in [0_u32, 1] {
            let mut states =
                HashMap::<_, u32, u32>::try_from(this.map("STATES")?).map_err(refused("STATES"))?;
            states.insert(key, 1, 0).map_err(refused("STATES"))?;
        }
        Ok(this)
    }

    /// The program, to be installed.
    pub fn program(&mut self) -> &mut Measured {
        &mut self.0
    }

    /// Lets an address reach ports: protocol, first and last of each range, in the order in which they are walked; those that
    /// find no room are left out.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the entry.
    pub fn allow(&mut self, peer: Ipv4Addr, ports: &[[u32; 3]]) -> Result<(), Error> {
        let mut list = [[0; 3]; PORTS];
        for (place, port) in list.iter_mut().zip(ports) {
            *place = *port;
        }
        let map = self.map("PEERS")?;
        let mut peers = LpmTrie::<_, u32, [[u32; 3]; PORTS]>::try_from(map).map_err(refused("PEERS"))?;
        peers.insert(&Key::new(32, u32::from_ne_bytes(peer.octets())), list, 0).map_err(refused("PEERS"))
    }

    /// Runs it.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the frame.
    pub fn run(&mut self, run: TestRun<'_>) -> Result<Ran, Error> {
        self.0.run(run)
    }

    /// Takes the events out of the ring, and counts them.
    ///
    /// # Errors
    ///
    /// When the ring cannot be read.
    pub fn drain(&mut self) -> Result<usize, Error> {
        let mut ring = RingBuf::try_from(self.map("EVENTS")?).map_err(refused("EVENTS"))?;
        let mut events = 0;
        while ring.next().is_some() {
            events += 1;
        }
        Ok(events)
    }

    fn map(&mut self, name: &str) -> Result<&mut Map, Error> {
        self.0.object.map_mut(name).ok_or_else(|| Error::Missing { what: "map", name: name.to_owned() })
    }
}

fn refused(name: &str) -> impl Fn(MapError) -> Error {
    move |source| Error::NamedMap { name: name.to_owned(), source }
}
