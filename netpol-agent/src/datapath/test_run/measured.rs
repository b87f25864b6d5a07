//! What the bench runs beside the classifiers: the empty one, an endpoint's entry without an interface, and the program
//! that makes another packet of the same one each time. The agent uses none of it.

use std::path::Path;

use aya::{Ebpf, EbpfLoader};
use netpol_common::{Direction, tables::program_cell};

use super::{Ran, TestRun, test_run};
use crate::datapath::{
    Datapath, Error,
    attach::{ENTRY, tc_side},
    entries::Code,
    object,
};

/// A program of its own object, ready to be run.
pub struct Measured {
    pub(super) object: Ebpf,
    name: &'static str,
}

/// How packets of one run differ: each has an endpoint, a peer and, if wanted, a port chosen at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// The first slot.
    pub slot: u32,
    /// Slots that take turns; a power of two.
    pub slots: u32,
    /// Whose classifier is called.
    pub direction: Direction,
    /// Where in the frame the last four bytes of the endpoint's address are.
    pub pod_at: u32,
    /// Those of the first endpoint's address, as a number; the next endpoint has the next one.
    pub pod: u32,
    /// Where the last four bytes of the peer's address are.
    pub peer_at: u32,
    /// Those of the first peer's address, as a number.
    pub peer: u32,
    /// Peers, with addresses that follow each other.
    pub peers: u32,
    /// Where the port is that differs; 0 for none.
    pub port_at: u32,
}

impl Measured {
    /// The classifier that does nothing.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    pub fn empty() -> Result<Self, Error> {
        Self::load(&mut EbpfLoader::new(), object::EMPTY, "empty")
    }

    /// What calls the classifiers of slots with another packet each time, by the pins in the folder, which must still be
    /// there: also those of an agent that runs.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    pub fn cycle(bpffs: &Path, cycle: &Cycle) -> Result<Self, Error> {
        let plan = [
            program_cell(cycle.slot, cycle.direction),
            cycle.slots - 1,
            cycle.pod_at,
            cycle.pod,
            cycle.peer_at,
            cycle.peer,
            cycle.peers,
            cycle.port_at,
        ];
        Self::load(
            EbpfLoader::new()
                .override_global("PLAN", plan.as_slice(), true)
                .map_pin_path("PROGRAMS", bpffs.join("maps/PROGRAMS")),
            object::CYCLE,
            "cycle",
        )
    }

    pub(super) fn load(loader: &mut EbpfLoader<'_>, bytes: &[u8], name: &'static str) -> Result<Self, Error> {
        let mut object = loader.load(bytes).map_err(|source| Error::Load { source })?;
        object::program(&mut object, name)?
            .load()
            .map_err(|source| Error::Program { name: name.to_owned(), source })?;
        Ok(Self { object, name })
    }

    /// Runs it; what `run` names is not looked at.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the frame.
    pub fn run(&mut self, run: TestRun<'_>) -> Result<Ran, Error> {
        test_run(object::program(&mut self.object, self.name)?, run)
    }

    /// Attaches it where an endpoint's entry would be, until this is dropped. To be called in the network namespace of the
    /// interface.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    pub fn attach(&mut self, interface: &str) -> Result<(), Error> {
        for direction in Direction::ALL {
            let program = object::program(&mut self.object, self.name)?;
            program.attach(interface, tc_side(direction)).map_err(|source| Error::Attach {
                interface: interface.to_owned(),
                direction: direction.name(),
                source,
            })?;
        }
        Ok(())
    }
}

impl Datapath {
    /// Gives a slot one of the classifiers by name, or the empty one, without any interface.
    ///
    /// # Errors
    ///
    /// When there is no such classifier, or no such slot.
    pub fn install(
        &mut self,
        slot: u32,
        direction: Direction,
        name: &str,
        empty: &mut Measured,
    ) -> Result<(), Error> {
        let failed = |source| Error::Program { name: name.to_owned(), source };
        let object = if name == empty.name { &mut empty.object } else { &mut self.object };
        let program = object::program(object, name)?.fd().map_err(failed)?;
        self.tables
            .programs
            .set(program_cell(slot, direction), program, 0)
            .map_err(|source| Error::NamedMap { name: "PROGRAMS".to_owned(), source })
    }

    /// What calls the classifiers of slots with another packet each time. The pins must still be there.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    pub fn cycle(&self, cycle: &Cycle) -> Result<Measured, Error> {
        Measured::cycle(&self.folder, cycle)
    }

    /// The entry of a slot. The pins must still be there.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    pub fn entry(&self, slot: u32, direction: Direction) -> Result<Measured, Error> {
        Measured::load(
            EbpfLoader::new().map_pin_path("PROGRAMS", self.folder.join("maps/PROGRAMS")),
            Code::new()?.of(slot, direction)?,
            ENTRY,
        )
    }
}
