//! Services, as tests write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its namespace in the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The last part of its two addresses.
    pub host_part: u8,
    /// The labels that choose its backends.
    pub selector: Vec<(String, String)>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Its `externalIPs`.
    pub external: Vec<IpAddr>,
    /// Its load balancer's addresses.
    pub balancer: Vec<IpAddr>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name.
    pub name: String,
    /// Protocol as the API spells it.
    pub protocol: String,
    /// The port that clients use.
    pub port: u16,
    /// The backends' port: a number, or a name of theirs.
    pub target: Value,
    /// The port on the node; 0 without one.
    pub node_port: u16,
}

impl ServiceSpec {
    /// A Service for pods with one label, without ports.
    #[must_use]
    pub fn new(namespace: &str, name: &str, host_part: u8, key: &str, value: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            host_part,
            selector: vec![(key.to_owned(), value.to_owned())],
            ports: Vec::new(),
            external: Vec::new(),
            balancer: Vec::new(),
        }
    }

    /// With one more port.
    #[must_use]
    pub fn port(mut self, protocol: &str, port: u16, target: u16) -> Self {
        let name = format!("{}-{port}", protocol.to_lowercase());
        let (protocol, target) = (protocol.to_owned(), target.into());
        self.ports.push(ServicePort { name, protocol, port, target, node_port: 0 });
        self
    }

    /// With this port on the node for the port that was added last.
    #[must_use]
    pub fn node_port(mut self, node_port: u16) -> Self {
        if let Some(last) = self.ports.last_mut() {
            last.node_port = node_port;
        }
        self
    }

    /// With one more of its `externalIPs`.
    #[must_use]
    pub fn external(mut self, address: IpAddr) -> Self {
        self.external.push(address);
        self
    }

    /// With one more address of a load balancer.
    #[must_use]
    pub fn balancer(mut self, address: IpAddr) -> Self {
        self.balancer.push(address);
        self
    }

    /// Its addresses.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [
            IpAddr::V4(Ipv4Addr::new(10, 96, 0, self.host_part)),
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, self.host_part.into())),
        ]
    }

    /// A port of it in both families.
    #[must_use]
    pub fn sockets(&self, port: u16) -> [SocketAddr; 2] {
        self.addresses().map(|address| SocketAddr::new(address, port))
    }

    /// The object that the API server would hold.
    #[must_use]
    pub fn object(&self) -> Value {
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|ServicePort { name, protocol, port, target, node_port }| {
                let mut object =
                    json!({"name": name, "protocol": protocol, "port": port, "targetPort": target});
                if *node_port != 0 {
                    object["nodePort"] = (*node_port).into();
                }
                object
            })
            .collect();
        let addresses = self.addresses();
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": self.namespace, "name": self.name},
            "spec": {
                "clusterIP": addresses[0],
                "clusterIPs": addresses,
                "ipFamilyPolicy": "RequireDualStack",
                "selector": self.selector.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                "ports": ports,
                "externalIPs": self.external,
            },
            "status": {"loadBalancer": {
                "ingress": self.balancer.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>(),
            }},
        })
    }
}
