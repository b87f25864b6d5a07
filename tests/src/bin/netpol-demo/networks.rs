//! The example's cluster as a laboratory: its pods become namespaces, its Services translations, its files the agent's.

mod clients;
mod keep;
mod servers;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use netpol_tests::laboratory::network::{NODE, SERVICE_RANGES};
use netpol_tests::{Laboratory, Link, Namespace, Outcome, PodSpec, ServicePort, ServiceSpec, Setup, yaml};
use serde_json::Value;

use crate::scenarios::{Row, Scenario};
use crate::stage::{Family, Stage};
pub(crate) use keep::keep;
pub(crate) use servers::start as start_servers;

/// The laboratory with the example's pods in it.
pub(crate) struct Networks {
    pub(crate) lab: Laboratory,
    examples: PathBuf,
    /// Names of Services with their two addresses.
    pub(crate) services: Vec<ServiceSpec>,
    /// Names of the files of the scenario that is in force.
    in_force: Vec<String>,
}

impl Networks {
    /// Builds it from the folder `cluster` of the example.
    pub(crate) fn build(examples: &Path, link: Link) -> Result<Self> {
        let lab = Laboratory::with(Setup { link, ..Setup::default() })?;
        let mut networks =
            Self { lab, examples: examples.to_owned(), services: Vec::new(), in_force: Vec::new() };
        // The node's object of the laboratory is the example's.
        networks.lab.delete("Node", "", "node-1")?;
        let folder = examples.join("cluster");
        for name in file_names(&folder)? {
            let path = folder.join(&name);
            let text = read(&path)?;
            let documents =
                yaml::documents(&text).with_context(|| format!("cannot read {}", path.display()))?;
            networks.lab.apply_file(&name, &text)?;
            for object in documents {
                networks.add(&object).with_context(|| format!("in {}", path.display()))?;
            }
        }
        for service in &networks.services {
            networks.lab.serve(service.clone())?;
        }
        networks.write_resolvers()?;
        Ok(networks)
    }

    fn add(&mut self, object: &Value) -> Result<()> {
        match text(object, "kind") {
            "Pod" => {
                let pod = self.lab.prepare_pod(pod_spec(object)?)?;
                if object["status"]["podIPs"] != pod.object("")["status"]["podIPs"] {
                    bail!("the addresses of {} are not those that the laboratory gives", pod.key());
                }
                self.lab.connect_pod(&pod)
            }
            "Service" => {
                let service = service_spec(object)?;
                if object["spec"]["clusterIPs"] != service.object()["spec"]["clusterIPs"] {
                    bail!("the addresses of {} are not in {}", service.name, SERVICE_RANGES.join(" and "));
                }
                self.services.push(service);
                Ok(())
            }
            "Node" => {
                let own = NODE.map(|address| address.to_string());
                let addresses = object["status"]["addresses"].as_array().into_iter().flatten();
                if !addresses.map(|address| text(address, "address")).eq(own.iter().map(String::as_str)) {
                    bail!("the node's addresses are not {}", own.join(" and "));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A pod by its key, or `node`, or `outside`.
    pub(crate) fn place(&self, name: &str) -> Result<Namespace> {
        match name {
            "node" => Ok(self.lab.node.clone()),
            "outside" => Ok(self.lab.outside.clone()),
            key => Ok(Namespace::clone(self.lab.pod(key)?)),
        }
    }

    /// A Service by `namespace/name`.
    pub(crate) fn service(&self, key: &str) -> Result<&ServiceSpec> {
        self.services
            .iter()
            .find(|service| format!("{}/{}", service.namespace, service.name) == key)
            .with_context(|| format!("the example has no Service {key}"))
    }

    /// The files that stand in the place of the machine's in the mount namespace of a client: how it finds names.
    pub(crate) fn resolver(&self, family: Family) -> Vec<(PathBuf, PathBuf)> {
        let own = |name: &str| self.lab.folder().join(name);
        let resolver = match family {
            Family::V4 => "resolv4.conf",
            Family::V6 => "resolv6.conf",
        };
        let mut files = vec![(own(resolver), "/etc/resolv.conf".into())];
        // What else could answer in the name server's place, where the machine has it.
        for (name, place) in
            [("hosts", "/etc/hosts"), ("nsswitch.conf", "/etc/nsswitch.conf"), ("empty", "/run/nscd")]
        {
            if Path::new(place).exists() {
                files.push((own(name), place.into()));
            }
        }
        files
    }

    fn write_resolvers(&self) -> Result<()> {
        let folder = self.lab.folder();
        let dns = self.service("kube-system/kube-dns")?.addresses();
        for (name, address) in ["resolv4.conf", "resolv6.conf"].iter().zip(dns) {
            // As the kubelet writes it, but with an answer to a name that cannot be asked after 1 s, not after 10.
            let content = format!(
                "search production.svc.cluster.local svc.cluster.local cluster.local\nnameserver {address}\n\
                 options ndots:5 timeout:1 attempts:1\n"
            );
            fs::write(folder.join(name), content)?;
        }
        fs::write(folder.join("hosts"), "127.0.0.1 localhost\n::1 localhost\n")?;
        fs::write(folder.join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n")?;
        fs::create_dir_all(folder.join("empty"))?;
        Ok(())
    }
}

impl Stage for Networks {
    fn families(&self) -> &[Family] {
        Family::BOTH
    }

    fn enforce(&mut self, scenario: &Scenario) -> Result<()> {
        for name in std::mem::take(&mut self.in_force) {
            self.lab.remove_file(&name)?;
        }
        self.lab.settle()?;
        for file in scenario.files {
            let content = read(&self.examples.join(file))?;
            let name = file.replace('/', "-");
            self.lab.apply_file(&name, &with_namespace(&content)?)?;
            self.in_force.push(name);
        }
        self.lab.settle()
    }

    fn ask(&self, rows: &[Row]) -> Result<Vec<Vec<Outcome>>> {
        thread::scope(|scope| {
            let ask = |row| {
                Family::BOTH.iter().map(move |family| scope.spawn(move || clients::ask(self, row, *family)))
            };
            let asked: Vec<Vec<_>> = rows.iter().map(|row| ask(row).collect()).collect();
            let answer = |thread: thread::ScopedJoinHandle<'_, Result<Outcome>>| {
                thread.join().map_err(|_| anyhow!("a probe panicked"))?
            };
            asked.into_iter().map(|row| row.into_iter().map(answer).collect()).collect()
        })
    }

    fn netpol(&self, _: &str, arguments: &[&str]) -> Result<Output> {
        self.lab.agent()?.client(arguments).output().context("cannot start netpol")
    }
}

/// A policy without a namespace goes to `production`, as `kubectl apply -n production` would send it: the reference
/// has one that is applied to `production` and does not say so. All else stays as it is in the file, comments too.
fn with_namespace(content: &str) -> Result<String> {
    let documents = yaml::documents(content)?;
    if documents.iter().all(|object| object["metadata"]["namespace"].is_string()) {
        return Ok(content.to_owned());
    }
    let [_] = documents.as_slice() else { bail!("a file with several policies must name their namespaces") };
    Ok(content.replacen("\nmetadata:\n", "\nmetadata:\n  namespace: production\n", 1))
}

fn pod_spec(object: &Value) -> Result<PodSpec> {
    let metadata = &object["metadata"];
    let mut spec = PodSpec::new(text(metadata, "namespace"), text(metadata, "name"));
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        spec = spec.label(key, value.as_str().unwrap_or_default());
    }
    for container in object["spec"]["containers"].as_array().into_iter().flatten() {
        for port in container["ports"].as_array().into_iter().flatten() {
            let number = port["containerPort"].as_u64().and_then(|number| u16::try_from(number).ok());
            spec = spec.port(
                text(port, "name"),
                text(port, "protocol"),
                number.context("a port has no number")?,
            );
        }
    }
    Ok(spec.at(last_part(text(&object["status"], "podIP"))?))
}

fn service_spec(object: &Value) -> Result<ServiceSpec> {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let selector = spec["selector"].as_object().into_iter().flatten();
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| {
        let number = port["port"].as_u64().and_then(|number| u16::try_from(number).ok());
        Ok(ServicePort {
            name: text(port, "name").to_owned(),
            protocol: text(port, "protocol").to_owned(),
            port: number.context("a Service's port has no number")?,
            target: port["targetPort"].clone(),
            node_port: 0,
        })
    });
    Ok(ServiceSpec {
        namespace: text(metadata, "namespace").to_owned(),
        name: text(metadata, "name").to_owned(),
        host_part: last_part(text(spec, "clusterIP"))?,
        selector: selector
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        ports: ports.collect::<Result<_>>()?,
        external: Vec::new(),
        balancer: Vec::new(),
    })
}

fn last_part(address: &str) -> Result<u8> {
    let address: Ipv4Addr = address.parse().with_context(|| format!("{address:?} is no IPv4 address"))?;
    Ok(address.octets()[3])
}

fn file_names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}
