//! What can go wrong with the kernel, said to people.

use std::{io, path::PathBuf};

use aya::{
    EbpfError,
    maps::MapError,
    pin::PinError,
    programs::{ProgramError, links::LinkError},
};

/// An error of the datapath.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The objects could not be loaded.
    #[error(
        "loading the eBPF objects: needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (below 5.11 also CAP_SYS_RESOURCE) and a kernel of 5.10 or newer"
    )]
    Load {
        /// What the kernel or the loader said.
        #[source]
        source: EbpfError,
    },
    /// The embedded object is damaged.
    #[error("parsing the embedded eBPF object")]
    Parse {
        /// What the parser said.
        #[source]
        source: aya_obj::ParseError,
    },
    /// A program was refused.
    #[error("loading the program {name}")]
    Program {
        /// The program.
        name: String,
        /// What the verifier said.
        #[source]
        source: ProgramError,
    },
    /// The verifier does not say what it takes.
    #[error("asking what verifying the program {name} takes")]
    Sums {
        /// The program.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A map is missing or of another kind.
    #[error("using the map {name}")]
    NamedMap {
        /// The map.
        name: String,
        /// What aya said.
        #[source]
        source: MapError,
    },
    /// The object does not hold what the agent expects.
    #[error("the embedded object has no {what} {name}")]
    Missing {
        /// "map" or "program".
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// There are no random numbers.
    #[error("reading /dev/urandom, for what the tables of flows are hashed with")]
    Random {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Mapping an array into memory failed.
    #[error("mapping an array into memory")]
    Map {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A pin could not be read or written.
    #[error("using the pin {path}; is bpffs mounted there? (mount -t bpf bpf /sys/fs/bpf)")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: MapError,
    },
    /// A folder for pins could not be made or read.
    #[error("using the folder {path} for pins; is bpffs mounted there? (mount -t bpf bpf /sys/fs/bpf)")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Another agent works on the same tables.
    #[error(
        "another agent works on the pins in {path}, and two must never write the same tables: stop it first, or give this one a folder of its own by --bpffs"
    )]
    Taken {
        /// The folder of the pins.
        path: PathBuf,
    },
    /// A program could not be attached.
    #[error("attaching to {interface} ({direction})")]
    Attach {
        /// The interface.
        interface: String,
        /// "ingress" or "egress", of the pod.
        direction: &'static str,
        /// What the kernel said.
        #[source]
        source: ProgramError,
    },
    /// What an interface carries could not be asked.
    #[error("asking what the interface with index {ifindex} carries at tc")]
    Carried {
        /// The index.
        ifindex: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A new interface could not be closed.
    #[error("closing the new interface {interface} until its pod is known")]
    Gate {
        /// The interface.
        interface: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A link could not be pinned or read.
    #[error("using the pinned link {path}")]
    Link {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: LinkError,
    },
    /// A link could not be pinned.
    #[error("pinning the link {path}")]
    PinLink {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: PinError,
    },
    /// The kernel does not say how long a jiffy is.
    #[error("asking for the resolution of the coarse clock")]
    Clock {
        /// What the kernel said.
        #[source]
        source: nix::errno::Errno,
    },
    /// An interface is gone.
    #[error("there is no interface with index {ifindex}")]
    NoInterface {
        /// The index.
        ifindex: u32,
    },
    /// A slot beyond the table.
    #[error("no endpoint has the slot {slot}")]
    NoSlot {
        /// The slot.
        slot: u32,
    },
}
