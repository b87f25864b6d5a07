//! Other engines that enforce policies on this node, by what they leave in the kernel. It is only read.

mod legacy;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    nftables::{ChainAttribute, ChainMessage, NfTablesMessage},
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::datapath::netlink_dump;

/// Engines by their names, with what was found of each.
pub type Enforcers = BTreeMap<&'static str, BTreeSet<String>>;

/// What an engine leaves in the kernel.
enum Sign {
    /// Chains of netfilter whose names begin so: of nftables, where iptables has its own too, or of `iptables-legacy`.
    Chains(&'static str),
    /// A table of nftables.
    Table(&'static str),
    /// Pins in a folder of the node's bpffs, whose names begin so.
    Pins(&'static str, &'static str),
    /// Programs at interfaces whose names begin so; names can be read with CAP_SYS_ADMIN only.
    Programs(&'static str),
}

use Sign::{Chains, Pins, Programs, Table};

/// What is known of engines. What the same projects make for Services and addresses is not among it.
const ENGINES: [(&str, &[Sign]); 9] = [
    ("Antrea", &[Chains("ANTREA-")]),
    (
        "AWS network policy agent",
        &[Pins("globals/aws/programs", ""), Programs("handle_ingress"), Programs("handle_egress")],
    ),
    ("Azure network policy manager", &[Chains("AZURE-NPM")]),
    ("Calico", &[Chains("cali-"), Table("calico"), Pins("tc/globals", "cali_")]),
    ("Cilium", &[Chains("CILIUM_"), Pins("tc/globals", "cilium_"), Pins("cilium", ""), Programs("cil_")]),
    ("kube-network-policies", &[Table("kube-network-policies"), Table("kindnet-network-policies")]),
    ("kube-router", &[Chains("KUBE-NWPLCY-"), Chains("KUBE-POD-FW-")]),
    ("OVN-Kubernetes", &[Table("ovn-kubernetes")]),
    ("Weave Net", &[Chains("WEAVE-NPC")]),
];

/// A chain of netfilter.
#[derive(Clone)]
struct Chain {
    family: &'static str,
    table: String,
    name: String,
}

/// Looks for all of them, in the network namespace of the thread that asks.
pub(super) fn find(programs: &[&str], bpffs: &Path) -> io::Result<Enforcers> {
    let mut chains = chains()?;
    chains.extend(legacy::chains()?);
    Ok(known(&chains, programs, bpffs))
}

/// The engines that these are of.
fn known(chains: &[Chain], programs: &[&str], bpffs: &Path) -> Enforcers {
    let mut found = Enforcers::new();
    for (engine, signs) in ENGINES {
        let traces: BTreeSet<String> =
            signs.iter().flat_map(|sign| sign.traces(chains, programs, bpffs)).collect();
        if !traces.is_empty() {
            found.insert(engine, traces);
        }
    }
    found
}

impl Sign {
    /// What there is of it, a line for each place.
    fn traces(&self, chains: &[Chain], programs: &[&str], bpffs: &Path) -> BTreeSet<String> {
        match *self {
            Chains(prefix) => chains
                .iter()
                .filter(|chain| chain.name.starts_with(prefix))
                .map(|Chain { family, table, .. }| format!("chains {prefix}* of the table {family} {table}"))
                .collect(),
            Table(name) => chains
                .iter()
                .filter(|chain| chain.table == name)
                .map(|Chain { family, .. }| format!("the table {family} {name} of nftables"))
                .collect(),
            Pins(folder, prefix) => {
                let folder = bpffs.join(folder);
                // A folder that is not there holds none.
                let mut entries = fs::read_dir(&folder).into_iter().flatten().flatten();
                let is_there = entries.any(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
                is_there.then(|| format!("pins {}/{prefix}*", folder.display())).into_iter().collect()
            }
            Programs(prefix) => {
                let is_there = programs.iter().any(|name| name.starts_with(prefix));
                is_there.then(|| format!("programs {prefix}* at interfaces")).into_iter().collect()
            }
        }
    }
}

/// The chains of every table.
fn chains() -> io::Result<Vec<Chain>> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let request = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
    let mut found = Vec::new();
    let answer = netlink_dump(NETLINK_NETFILTER, NetfilterMessage::new(header, request), &mut |message| {
        let family = family(message.header.family);
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(ChainMessage { attributes })) =
            message.inner
        else {
            return;
        };
        let (mut table, mut name) = (String::new(), String::new());
        for attribute in attributes {
            match attribute {
                ChainAttribute::Table(text) => table = text,
                ChainAttribute::Name(text) => name = text,
                _ => {}
            }
        }
        found.push(Chain { family, table, name });
    });
    match answer {
        // A kernel without nftables.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Vec::new()),
        answer => answer.map(|()| found),
    }
}

const fn family(family: NetfilterProtoFamily) -> &'static str {
    match family {
        NetfilterProtoFamily::Inet => "inet",
        NetfilterProtoFamily::IPv4 => "ip",
        NetfilterProtoFamily::IPv6 => "ip6",
        NetfilterProtoFamily::Bridge => "bridge",
        NetfilterProtoFamily::NetDev => "netdev",
        NetfilterProtoFamily::ARP => "arp",
        _ => "of another family",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str, name: &str) -> Chain {
        Chain { family: "ip", table: table.to_owned(), name: name.to_owned() }
    }

    fn nowhere() -> &'static Path {
        Path::new("/nonexistent")
    }

    #[test]
    fn an_engine_is_known_by_its_chains_and_tables_however_many_there_are() {
        let chains = [
            chain("filter", "cali-FORWARD"),
            chain("filter", "cali-fw-cali123"),
            chain("mangle", "cali-PREROUTING"),
            chain("kube-network-policies", "forward"),
        ];
        let found = known(&chains, &[], nowhere());
        assert_eq!(found.keys().collect::<Vec<_>>(), [&"Calico", &"kube-network-policies"]);
        let wanted = ["chains cali-* of the table ip filter", "chains cali-* of the table ip mangle"];
        assert_eq!(found["Calico"], wanted.map(str::to_owned).into());
    }

    #[test]
    fn what_others_make_for_services_is_no_engine() {
        let names = [
            "KUBE-FORWARD",
            "KUBE-FIREWALL",
            "KUBE-ROUTER-SERVICES",
            "CNI-FORWARD",
            "DOCKER-USER",
            "FORWARD",
        ];
        let mut chains = names.map(|name| chain("filter", name)).to_vec();
        chains.push(chain("kube-proxy", "filter-forward"));
        assert_eq!(known(&chains, &["netpol_entry", ""], nowhere()), Enforcers::new());
    }

    #[test]
    fn an_engine_is_known_by_its_programs_and_by_what_it_pins() {
        let bpffs = tempfile::tempdir().unwrap();
        assert_eq!(known(&[], &[], bpffs.path()), Enforcers::new());
        fs::create_dir_all(bpffs.path().join("tc/globals")).unwrap();
        fs::write(bpffs.path().join("tc/globals/other"), "").unwrap();
        assert_eq!(known(&[], &[], bpffs.path()), Enforcers::new());
        fs::write(bpffs.path().join("tc/globals/cilium_ipcache"), "").unwrap();
        let found = known(&[], &["handle_ingress"], bpffs.path());
        assert_eq!(found.keys().collect::<Vec<_>>(), [&"AWS network policy agent", &"Cilium"]);
    }
}
