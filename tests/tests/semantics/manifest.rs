//! Manifests as a user writes them: each object in a file of its own.

/// The own node.
pub(crate) const NODE: &str = "n1";
/// Another one.
pub(crate) const ELSEWHERE: &str = "n2";

/// A file and what stands in it.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) file: String,
    pub(crate) text: String,
}

impl Manifest {
    /// The same text with something else in one place, which is there.
    pub(crate) fn with(mut self, old: &str, new: &str) -> Self {
        assert!(self.text.contains(old), "{old:?} is not in {}", self.text);
        self.text = self.text.replace(old, new);
        self
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or_else(|| panic!("{name} is no namespace and name"))
}

/// An object in its file; `rest` is everything behind its metadata.
pub(crate) fn object(version: &str, kind: &str, name: &str, metadata: &str, rest: &str) -> Manifest {
    let (namespace, own) = split(name);
    let namespace = if namespace.is_empty() { String::new() } else { format!(", namespace: {namespace}") };
    let text = format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {own}{namespace}{metadata}}}\n{rest}\n"
    );
    Manifest { file: format!("{}-{}.yaml", kind.to_lowercase(), name.replace('/', "-")), text }
}

/// A namespace with labels such as `team: blue`.
pub(crate) fn namespace(name: &str, labels: &str) -> Manifest {
    object("v1", "Namespace", &format!("/{name}"), &format!(", labels: {{{labels}}}"), "")
}

/// A node with its addresses.
pub(crate) fn node(name: &str, addresses: &[&str]) -> Manifest {
    let lines: Vec<String> =
        addresses.iter().map(|address| format!("{{type: InternalIP, address: \"{address}\"}}")).collect();
    let status = format!("status: {{addresses: [{}]}}", lines.join(", "));
    object("v1", "Node", &format!("/{name}"), "", &status)
}

/// A NetworkPolicy with this spec.
pub(crate) fn policy(name: &str, spec: &str) -> Manifest {
    object("networking.k8s.io/v1", "NetworkPolicy", name, "", &format!("spec: {{{spec}}}"))
}

/// A pod that is to be written down.
#[derive(Clone, Debug)]
pub(crate) struct PodText {
    name: String,
    labels: String,
    node: &'static str,
    addresses: Vec<String>,
    metadata: String,
    spec: String,
    ports: String,
    phase: &'static str,
}

/// A pod of the own node with labels such as `app: web`. Its addresses are `10.1.0.N` and `fd01::N`.
pub(crate) fn pod(name: &str, number: u8, labels: &str) -> PodText {
    PodText {
        name: name.into(),
        labels: labels.into(),
        node: NODE,
        addresses: vec![format!("10.1.0.{number}"), format!("fd01::{number}")],
        metadata: String::new(),
        spec: String::new(),
        ports: String::new(),
        phase: "Running",
    }
}

impl PodText {
    /// It runs on another node.
    pub(crate) fn elsewhere(mut self) -> Self {
        self.node = ELSEWHERE;
        self
    }

    /// Its addresses.
    pub(crate) fn at(mut self, addresses: &[&str]) -> Self {
        self.addresses = addresses.iter().map(ToString::to_string).collect();
        self
    }

    /// The ports of its container, such as `{name: http, containerPort: 80}`.
    pub(crate) fn ports(mut self, ports: &str) -> Self {
        self.ports = ports.into();
        self
    }

    /// More of its metadata.
    pub(crate) fn metadata(mut self, more: &str) -> Self {
        self.metadata = format!(", {more}");
        self
    }

    /// More of its spec.
    pub(crate) fn spec(mut self, more: &str) -> Self {
        self.spec = format!(", {more}");
        self
    }

    /// Where it is in its life.
    pub(crate) fn phase(mut self, phase: &'static str) -> Self {
        self.phase = phase;
        self
    }

    /// Its manifest.
    pub(crate) fn manifest(&self) -> Manifest {
        let Self { name, labels, node, addresses, metadata, spec, ports, phase } = self;
        let addresses: Vec<String> = addresses.iter().map(|one| format!("{{ip: \"{one}\"}}")).collect();
        let rest = format!(
            "spec: {{nodeName: {node}, containers: [{{name: main, ports: [{ports}]}}]{spec}}}\n\
             status: {{phase: {phase}, podIPs: [{}]}}",
            addresses.join(", ")
        );
        object("v1", "Pod", name, &format!(", labels: {{{labels}}}{metadata}"), &rest)
    }
}

/// A Service with two ClusterIPs; `ports` such as `{port: 80, targetPort: 8080}`.
pub(crate) fn service(name: &str, addresses: [&str; 2], ports: &str) -> Manifest {
    let [v4, v6] = addresses;
    let spec = format!("spec: {{clusterIP: {v4}, clusterIPs: [{v4}, \"{v6}\"], ports: [{ports}]}}");
    object("v1", "Service", name, "", &spec)
}

/// The endpoints of a Service, all of one family; `name` ends in something that tells slices of a Service apart.
pub(crate) fn slice(name: &str, service: &str, addresses: &[&str], ports: &str) -> Manifest {
    let family = if addresses.iter().any(|one| one.contains(':')) { "IPv6" } else { "IPv4" };
    let endpoints: Vec<String> =
        addresses.iter().map(|address| format!("{{addresses: [\"{address}\"]}}")).collect();
    let label = format!(", labels: {{kubernetes.io/service-name: {service}}}");
    let rest = format!("addressType: {family}\nendpoints: [{}]\nports: [{ports}]", endpoints.join(", "));
    object("discovery.k8s.io/v1", "EndpointSlice", name, &label, &rest)
}
