//! A node whose agent reads a folder of manifests: from the files through the reader, the reconciler and the compiler
//! into the tables of the kernel, as when it runs; only that frames come by test runs instead of interfaces.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::PathBuf,
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use netpol_agent::{
    config::TrustTag,
    control::protocol::Status,
    datapath::{Attachment, Counters, Hold, Meeting, Met, Surroundings, TakenOver},
    discovery::{Discovered, LocalPod, Owner},
    metrics::latencies,
    reconcile::{Datapath, Options, Reconciler},
    sources::{Located, manifests::folder::Folder},
};
use netpol_common::decide::Memory;
use netpol_policy::{
    engine::{Engine, Recovered, Settings, TableOp},
    model::{Key, Object},
    spec,
};
use netpol_tests::kernel::{Held, Kernel, sizes};

use crate::manifest::{ELSEWHERE, Manifest, NODE, namespace, node, pod, policy};

/// Ranges that ClusterIPs are taken from.
const SERVICE_RANGES: [&str; 2] = ["10.96.0.0/16", "fd96::/112"];
/// Interfaces of pods begin here.
const FIRST_INTERFACE: u32 = 100;

static FOLDERS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// A second scene of one test would wait for ever for the kernel that the first one holds.
    static ALIVE: Cell<bool> = const { Cell::new(false) };
}

/// The direction that a scene is about. What is written for ingress is turned round for egress: each is the
/// other then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ingress,
    Egress,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    /// A text that speaks of ingress, about this side.
    fn turned(self, text: &str) -> String {
        if self == Self::Ingress {
            return text.to_owned();
        }
        let swapped = [("Ingress", "Egress"), ("ingress", "egress"), ("from:", "to:")];
        swapped.into_iter().fold(text.to_owned(), |text, (one, other)| {
            let parts: Vec<String> = text.split(one).map(|part| part.replace(other, one)).collect();
            parts.join(other)
        })
    }
}

/// The kernel, as the reconciler knows it.
#[derive(Clone)]
struct Written(Rc<RefCell<Held>>);

impl Datapath for Written {
    fn apply(&mut self, operations: &[TableOp]) -> Vec<(TableOp, String)> {
        self.0.borrow_mut().apply(operations);
        Vec::new()
    }

    fn trust_bridge(&mut self, ifindex: u32, trusted: bool) -> Result<(), String> {
        self.0.borrow_mut().trust_bridge(ifindex, trusted);
        Ok(())
    }

    fn trusted_bridges(&self) -> BTreeSet<u32> {
        BTreeSet::new()
    }

    fn open_gate(&mut self, _: u32) -> Result<(), String> {
        Ok(())
    }

    fn is_gated(&self, _: u32) -> bool {
        false
    }

    fn mend(&mut self, _: &BTreeMap<Attachment, Hold>) -> Vec<(Attachment, Result<(), String>)> {
        Vec::new()
    }

    fn hold_by_link(&mut self, _: Option<Attachment>) -> Option<(Attachment, Result<(), String>)> {
        None
    }

    fn gates(&self) -> Result<BTreeSet<u32>, String> {
        Ok(BTreeSet::new())
    }

    fn counters(&self) -> Result<Counters, String> {
        Ok(Counters::default())
    }

    fn referenced_backends(&self) -> BTreeSet<u32> {
        BTreeSet::new()
    }

    fn set_surroundings(&mut self, _: BTreeMap<u32, Surroundings>) {}

    fn taken_over(&self, _: u32) -> Option<TakenOver> {
        None
    }

    fn takeover_fault(&self) -> Option<String> {
        None
    }

    fn meet(&self, _: &Meeting) -> Result<Met, String> {
        Err("nobody explains here".to_owned())
    }
}

/// A pod of the node with its interface.
#[derive(Clone, Debug)]
struct Found {
    uid: String,
    local: LocalPod,
}

/// The node.
pub(crate) struct Scene {
    pub(crate) side: Side,
    root: PathBuf,
    folder: Folder,
    kernel: Rc<RefCell<Held>>,
    reconciler: Reconciler<Written>,
    pub(crate) memory: Memory,
    pub(crate) spec: spec::Cluster,
    found: BTreeMap<Key, Found>,
    interfaces: u32,
    /// What discovery says of each pod beyond its own addresses.
    pub(crate) discovered: Vec<IpAddr>,
    pub(crate) bridges: BTreeSet<u32>,
    now: Duration,
    pub(crate) problems: Vec<Located>,
    /// The port or identifier that the last flow was opened by.
    pub(crate) port: u16,
}

/// The cast of most scenes; `shop/api` is what they are about. `shop/web`, `other/web` and `shop/bare`, which has no
/// label, run elsewhere.
pub(crate) fn cast() -> Vec<Manifest> {
    vec![
        node(NODE, &["172.16.0.1", "fd16::1"]),
        node(ELSEWHERE, &["172.16.0.2", "fd16::2"]),
        namespace("shop", "team: blue"),
        namespace("other", "team: red"),
        pod("shop/api", 1, "app: api").manifest(),
        pod("shop/web", 2, "app: web").elsewhere().manifest(),
        pod("shop/db", 3, "app: db").manifest(),
        pod("other/web", 4, "app: web").elsewhere().manifest(),
        pod("other/db", 5, "app: db").manifest(),
        pod("shop/bare", 6, "").elsewhere().manifest(),
    ]
}

/// A policy of ingress for `shop/api` with these rules, such as `[{from: [{podSelector: {}}]}]`.
pub(crate) fn rules(name: &str, rules: &str) -> Manifest {
    let spec = "podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress]";
    policy(&format!("shop/{name}"), &format!("{spec}, ingress: {rules}"))
}

impl Scene {
    /// An empty folder, about ingress.
    pub(crate) fn empty() -> Self {
        assert!(!ALIVE.replace(true), "the last scene is still there");
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("netpol-semantics-{}-{number}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let kernel = Rc::new(RefCell::new(Held::new()));
        let options = Options {
            node: NODE.to_owned(),
            source: root.display().to_string(),
            discovery: String::new(),
            trust_tag: TrustTag::Auto,
            sizes: sizes(),
            alive: None,
            latencies: latencies(),
        };
        let settings = Settings {
            node: NODE.into(),
            service_cidrs: SERVICE_RANGES.iter().map(|range| range.parse().unwrap()).collect(),
            ..Settings::default()
        };
        let written = Written(kernel.clone());
        Self {
            side: Side::Ingress,
            folder: Folder::new(&root),
            root,
            kernel,
            reconciler: Reconciler::new(options, settings, Recovered::default(), written),
            memory: Memory::default(),
            spec: spec::Cluster::default(),
            found: BTreeMap::new(),
            interfaces: FIRST_INTERFACE,
            discovered: Vec::new(),
            bridges: BTreeSet::new(),
            now: Duration::from_secs(1000),
            problems: Vec::new(),
            port: 10_000,
        }
    }

    /// The cast and more.
    pub(crate) fn of(side: Side, more: &[Manifest]) -> Self {
        let mut scene = Self::empty();
        scene.side = side;
        for manifest in cast().iter().chain(more) {
            scene.write(manifest);
        }
        scene.settle();
        scene
    }

    /// The cast and more, about ingress.
    pub(crate) fn with(more: &[Manifest]) -> Self {
        Self::of(Side::Ingress, more)
    }

    /// Runs a test about ingress, and turned round about egress.
    pub(crate) fn both(test: impl Fn(&mut Self)) {
        for side in Side::BOTH {
            test(&mut Self::of(side, &[]));
        }
    }

    fn write(&self, manifest: &Manifest) {
        fs::write(self.path(manifest), self.side.turned(&manifest.text)).unwrap();
    }

    /// Where a file is.
    pub(crate) fn path(&self, manifest: &Manifest) -> PathBuf {
        self.root.join(&manifest.file)
    }

    /// A file comes, or is replaced; the agent has seen it when this returns.
    pub(crate) fn put(&mut self, manifest: &Manifest) {
        self.write(manifest);
        self.settle();
    }

    /// Several files come at once.
    pub(crate) fn put_all(&mut self, manifests: &[Manifest]) {
        for manifest in manifests {
            self.write(manifest);
        }
        self.settle();
    }

    /// A file goes.
    pub(crate) fn remove(&mut self, manifest: &Manifest) {
        fs::remove_file(self.path(manifest)).unwrap();
        self.settle();
    }

    /// The agent looks at the folder, and brings the tables up to date.
    pub(crate) fn settle(&mut self) {
        self.folder.forget_stamps();
        self.folder.scan(&mut |_| ());
        let update = self.folder.update();
        self.problems = update.problems.to_vec();
        self.reconciler.take_objects(update);
        self.find_interfaces();
        self.now += Duration::from_millis(10);
        self.reconciler.settle(self.now);
        let objects = self.engine().store().objects();
        self.spec = spec::Cluster::new(&objects, NODE);
    }

    /// Every grace period ends.
    pub(crate) fn time_passes(&mut self) {
        let end = self.now + Duration::from_secs(600);
        while let Some(at) = self.reconciler.deadline().filter(|at| *at < end) {
            self.now = self.now.max(at);
            self.reconciler.settle(self.now);
        }
    }

    /// Each pod of the node that runs has an interface, and keeps it until it is gone.
    fn find_interfaces(&mut self) {
        let here: BTreeMap<Key, (String, Vec<IpAddr>)> = self
            .engine()
            .store()
            .objects()
            .into_iter()
            .filter_map(|object| if let Object::Pod(pod) = object { Some(pod) } else { None })
            .filter(|pod| *pod.node == *NODE && pod.counts())
            .map(|pod| (pod.key.clone(), (pod.uid.to_string(), pod.addresses.clone())))
            .collect();
        self.found.retain(|key, found| here.get(key).is_some_and(|(uid, _)| *uid == found.uid));
        for (key, (uid, mut addresses)) in here {
            addresses.extend(&self.discovered);
            if self.found.contains_key(&key) {
                continue;
            }
            self.interfaces += 1;
            let local = LocalPod {
                owner: Owner::Named { pod: key.clone(), uid: uid.clone() },
                interface: format!("veth{}", self.interfaces),
                ifindex: self.interfaces,
                addresses,
                hardware: None,
                bridge: None,
                namespace: None,
            };
            self.found.insert(key, Found { uid, local });
        }
        let pods: BTreeMap<u32, LocalPod> =
            self.found.values().map(|found| (found.local.ifindex, found.local.clone())).collect();
        let veths = pods.iter().map(|(ifindex, local)| (*ifindex, local.interface.clone())).collect();
        self.reconciler.take_interfaces(Discovered { pods, veths, ..Discovered::default() });
    }

    /// Packets that come by this interface carry a tag that can be believed, or no more.
    pub(crate) fn trust_bridge(&mut self, ifindex: u32, trusted: bool) {
        self.kernel.borrow_mut().trust_bridge(ifindex, trusted);
        if trusted {
            self.bridges.insert(ifindex);
        } else {
            self.bridges.remove(&ifindex);
        }
    }

    /// The compiled state.
    pub(crate) const fn engine(&self) -> &Engine {
        self.reconciler.engine()
    }

    /// How the agent is.
    pub(crate) fn status(&self) -> Status {
        self.reconciler.status(Duration::ZERO)
    }

    /// Runs something on the kernel's side.
    pub(crate) fn in_kernel<T>(&self, run: impl FnOnce(&mut Kernel) -> T) -> T {
        run(&mut self.kernel.borrow_mut())
    }

    /// The slot and the interface of a pod of this node.
    pub(crate) fn local(&self, pod: &Key) -> Option<(u32, u32)> {
        let slot = self.engine().slot_of(pod)?;
        Some((slot, self.engine().endpoint(slot)?.local.ifindex))
    }

    /// What is wrong with an object, each as its field and its message.
    pub(crate) fn problems_of(&self, kind: &str, object: &str) -> Vec<(&str, &str)> {
        let of = self.problems.iter().filter(|problem| problem.kind == kind && problem.object == object);
        of.map(|problem| (problem.field.as_str(), problem.message.as_str())).collect()
    }

    /// Something is wrong with a field of a policy, and nothing else is wrong anywhere; `field` is as it stands for
    /// ingress.
    #[track_caller]
    pub(crate) fn reports(&self, object: &str, field: &str) {
        let mut field = self.side.turned(field);
        if self.side == Side::Egress {
            field = field.replace(".from", ".to");
        }
        let said = self.problems_of("NetworkPolicy", object);
        assert!(
            said.iter().any(|(at, _)| *at == field),
            "{object} {field} is not among {:#?}",
            self.problems
        );
        assert_eq!(said.len(), self.problems.len(), "more is wrong: {:#?}", self.problems);
        let file = self.problems[0].file.as_ref().expect("the file is named");
        assert!(file.starts_with(&self.root) && self.problems[0].line.is_some(), "{:#?}", self.problems);
    }

    /// Nothing is wrong.
    #[track_caller]
    pub(crate) fn reports_nothing(&self) {
        assert!(self.problems.is_empty(), "{:#?}", self.problems);
        assert!(self.engine().problems().is_empty(), "{:#?}", self.engine().problems());
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // The next scene has the same kernel: what was written goes as everything goes, by the agent itself.
        let _gone = fs::remove_dir_all(&self.root);
        let _made = fs::create_dir_all(&self.root);
        for bridge in self.bridges.clone() {
            self.trust_bridge(bridge, false);
        }
        self.settle();
        self.time_passes();
        let _gone = fs::remove_dir_all(&self.root);
        ALIVE.set(false);
    }
}
