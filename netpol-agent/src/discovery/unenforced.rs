//! What we would be blind to, refused openly: which pod, why, what it means and what to do.

use netpol_policy::model::Key;

/// Why packets pass no classifier of ours, or only after somebody else has had them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A pod of this node has addresses, and nothing says which interface is its own.
    NoInterface,
    /// The pod's interface does not end on this host: macvlan, ipvlan, SR-IOV, a device of the host.
    NoVeth,
    /// The host's end is a netkit.
    Netkit,
    /// The host's end is no veth.
    NotVeth,
    /// The agent was told to leave the interface alone.
    Excluded,
    /// An XDP program takes packets first.
    Xdp,
    /// A program at tc takes packets first.
    Ahead,
    /// No slot is left.
    NoSlot,
}

impl Cause {
    /// A stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoInterface => "no-interface",
            Self::NoVeth => "no-veth",
            Self::Netkit => "netkit",
            Self::NotVeth => "not-a-veth",
            Self::Excluded => "excluded",
            Self::Xdp => "xdp",
            Self::Ahead => "program-ahead",
            Self::NoSlot => "no-slot",
        }
    }

    /// What it means for traffic.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::NoInterface => "not enforced: no interface found",
            Self::NoVeth => "not enforced: its packets do not cross an interface of this host",
            Self::Netkit => "not enforced: a netkit's own programs move packets past tc",
            Self::NotVeth => "not enforced: the host's end of its interface is no veth",
            Self::Excluded => "not enforced: its interface is to be left alone",
            Self::Xdp => "may be evaded: an XDP program takes packets before the classifier",
            Self::Ahead => {
                "may be evaded: a program of somebody else's takes packets at tc before the classifier, which sees only what that leaves to it"
            }
            Self::NoSlot => "not enforced: no slot is left",
        }
    }

    /// What to do.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::NoInterface => {
                "let the agent see libcni's cache (--cni-cache), the sandboxes' files (--sandbox-folder, --sandbox-namespace) and the host's processes (hostPID)"
            }
            Self::NoVeth | Self::NotVeth => {
                "connect pods that policies select by a veth (bridge, ptp, a CNI with routed veths)"
            }
            Self::Excluded => "take it out of --exclude-interface",
            Self::Netkit => "let the CNI make veths instead of netkit devices",
            Self::Xdp => {
                "take the XDP program off, or see that it neither redirects nor answers packets of pods"
            }
            Self::Ahead => {
                "take the program off, or attach it behind the classifier; a new start of the agent does not move it"
            }
            Self::NoSlot => "run fewer pods on this node",
        }
    }
}

/// Something that cannot be enforced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unenforced {
    /// The pod, where it is known.
    pub pod: Option<Key>,
    /// The interface: the host's, or the pod's when the host has none; empty when there is none.
    pub interface: String,
    /// Why.
    pub cause: Cause,
    /// What exactly was found; may be empty.
    pub detail: String,
}

impl Unenforced {
    /// All of it in one line.
    #[must_use]
    pub fn text(&self) -> String {
        let name = match (&self.pod, self.interface.as_str()) {
            (Some(pod), "") => format!("the pod {pod}"),
            (Some(pod), interface) => format!("the pod {pod} ({interface})"),
            (None, interface) => format!("the interface {interface}"),
        };
        let detail = if self.detail.is_empty() { String::new() } else { format!(": {}", self.detail) };
        format!("{name}: {}{detail} ({})", self.cause.meaning(), self.cause.remedy())
    }
}
