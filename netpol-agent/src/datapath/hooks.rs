//! Which classifiers an interface carries: an entry per direction, attached once and pinned, that calls what
//! `programs` holds for its cell.
//!
//! From the pod's side to tc's: a pod's egress is tc ingress of the host's interface, its ingress tc egress
//! ([`tc_side`](super::attach::tc_side)).

use netpol_common::{
    Direction,
    tables::{ENDPOINT_LIVE, INTERFACE_ENDPOINT, Interface, program_cell},
};
use netpol_policy::engine::HookLevel;

use super::{
    Datapath, Error,
    apply::{gone, named},
    fault, object,
};

/// What judges one direction of a pod's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classifier {
    /// All that the pod sends.
    FromPod,
    /// All that the pod is sent.
    ToPod,
    /// Who sends, and no more.
    SourceCheck,
}

impl Classifier {
    /// That of a direction at a level.
    #[must_use]
    pub const fn of(level: HookLevel, direction: Direction) -> Option<Self> {
        match (level, direction) {
            (HookLevel::None, _) | (HookLevel::SourceCheck, Direction::Ingress) => None,
            (HookLevel::SourceCheck, Direction::Egress) => Some(Self::SourceCheck),
            (HookLevel::Full, Direction::Egress) => Some(Self::FromPod),
            (HookLevel::Full, Direction::Ingress) => Some(Self::ToPod),
        }
    }

    /// Its direction.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::FromPod | Self::SourceCheck => Direction::Egress,
            Self::ToPod => Direction::Ingress,
        }
    }

    /// The program that its entry calls.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::FromPod | Self::ToPod => object::SHORT_WAY,
            Self::SourceCheck => object::SOURCE_CHECK,
        }
    }
}

impl Datapath {
    /// Gives an interface the classifiers of a level. What it carries already is kept.
    pub(super) fn hook(&mut self, slot: u32, ifindex: u32, level: HookLevel) -> Result<(), Error> {
        if level == HookLevel::None {
            return self.unhook(slot, ifindex);
        }
        if level == HookLevel::Full {
            self.make_flow_table(slot)?;
        }
        fault::point();
        self.say(Interface { ifindex, kind: INTERFACE_ENDPOINT, slot })?;
        for direction in Direction::ALL {
            match Classifier::of(level, direction) {
                Some(classifier) => {
                    fault::point();
                    self.set_program(program_cell(slot, direction), classifier.program())?;
                    fault::point();
                    self.attach(slot, ifindex, direction)?;
                }
                None => {
                    self.detach(slot, ifindex, direction)?;
                    self.clear_program(slot, direction)?;
                }
            }
        }
        if level == HookLevel::Full {
            // It carries what it is to carry, whatever else is still to be hooked.
            self.open_gate(ifindex)?;
        } else {
            self.drop_flow_table(slot)?;
        }
        self.hooks.insert(slot, (ifindex, level));
        self.unswitched.remove(&slot);
        Ok(())
    }

    /// Takes off an interface what a slot has there, and the slot's flows. What another slot has there by now stays.
    pub(super) fn unhook(&mut self, slot: u32, ifindex: u32) -> Result<(), Error> {
        for direction in Direction::ALL {
            self.detach(slot, ifindex, direction)?;
            self.clear_program(slot, direction)?;
        }
        self.forget_interface(Interface { ifindex, kind: INTERFACE_ENDPOINT, slot })?;
        self.hooks.remove(&slot);
        self.unswitched.remove(&slot);
        self.drop_flow_table(slot)
    }

    /// What an interface carries, by slot.
    #[must_use]
    pub fn hooks(&self) -> &std::collections::BTreeMap<u32, (u32, HookLevel)> {
        &self.hooks
    }

    /// Takes an endpoint down: it is not live any more, carries nothing, and its flows go.
    pub(super) fn forget_endpoint(&mut self, slot: u32) -> Result<(), Error> {
        let ifindex = self.hooks.get(&slot).map_or(0, |(ifindex, _)| *ifindex);
        self.unhook(slot, ifindex)?;
        if let Some(mut entry) = self.tables.endpoints.get(slot) {
            entry.flags &= !ENDPOINT_LIVE;
            self.tables.endpoints.set_identity(slot, &entry);
        }
        self.forget_takeover(slot);
        Ok(())
    }

    pub(super) fn set_program(&mut self, cell: u32, name: &str) -> Result<(), Error> {
        let program = self
            .programs
            .get(name)
            .ok_or_else(|| Error::Missing { what: "program", name: name.to_owned() })?;
        self.tables.programs.set(cell, program, 0).map_err(named("PROGRAMS"))
    }

    fn clear_program(&mut self, slot: u32, direction: Direction) -> Result<(), Error> {
        gone(self.tables.programs.clear_index(&program_cell(slot, direction))).map_err(named("PROGRAMS"))
    }

    /// The name that an interface has now.
    pub(super) fn interface_name(ifindex: u32) -> Result<String, Error> {
        nix::net::if_::if_indextoname(ifindex)
            .ok()
            .and_then(|name| name.into_string().ok())
            // What was never hooked has index 0, which some C libraries name "".
            .filter(|name| !name.is_empty())
            .ok_or(Error::NoInterface { ifindex })
    }
}
