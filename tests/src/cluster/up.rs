//! Making a cluster and removing it.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::credentials::{Credentials, User};
use super::options::Options;
use super::part::{NodePart, Part};
use super::running::{Cluster, load_image};
use super::state::State;
use super::{anchor, binaries, images, manifests, supervisor};
use crate::deadline::wait_for;

/// How long each part may take to be ready. The whole takes half a minute; machines are shared.
const READY: Duration = Duration::from_secs(120);

/// What `up` found or made.
#[derive(Debug)]
pub enum Made {
    /// It made the cluster.
    New(Cluster),
    /// It runs already, and is what was asked for.
    Already(Cluster),
}

/// Makes a cluster, after leftovers of that name have been removed. `said` is told what is done, with the seconds since the
/// beginning.
///
/// # Errors
/// Without root or a program, when another cluster of that name runs, or when a part is not ready in time: with what it
/// logged. Nothing is left then.
pub fn up(options: &Options, said: &(dyn Fn(Duration, &str) + Sync)) -> Result<Made> {
    let start = Instant::now();
    let say = |what: &str| said(start.elapsed(), what);
    for program in [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "kubectl",
        "agnhost",
        "coredns",
    ] {
        binaries::find(program)?;
    }
    let state = State::of(&options.name)?;
    if let Some(foreign) = state.foreign() {
        bail!(
            "cluster {0} is the one of {1}, which was not made here: `down --name {0}` forgets it, or give another --name",
            options.name,
            foreign.display()
        );
    }
    if state.is_alive() && !state.is_abandoned() {
        return already(state, options);
    }
    state.remove().context("cannot remove what an earlier cluster of this name left")?;
    let (state, lock) = State::claim(options)?;
    match make(&state, options, &lock, &say) {
        Ok(cluster) => Ok(Made::New(cluster)),
        Err(error) => {
            let error = error.context(format!("cluster {} did not come up", options.name));
            drop(lock);
            match state.remove() {
                Ok(()) => Err(error),
                Err(second) => Err(error.context(format!("and could not be removed: {second:#}"))),
            }
        }
    }
}

fn already(state: State, options: &Options) -> Result<Made> {
    let name = state.name().to_owned();
    if !state.ready().exists() {
        bail!(
            "cluster {name} is being made by another `up`: wait for that, or remove it by `down --name {name}`"
        );
    }
    let running = state.options()?;
    if running != *options {
        bail!(
            "cluster {name} runs already, with {running}, and you ask for {options}: take it down first, or give another \
             --name"
        );
    }
    Cluster::open(state).map(Made::Already)
}

/// Ends a cluster if it runs, and removes what it left; whether there was anything.
///
/// # Errors
/// When something cannot be removed.
pub fn down(name: &str) -> Result<bool> {
    let state = State::of(name)?;
    let there = State::all().contains(&name.to_owned());
    state.remove().with_context(|| format!("cannot remove cluster {name}"))?;
    Ok(there)
}

/// The names of every cluster that left something, with whether it lives; of one that was not made here that is not asked.
#[must_use]
pub fn all() -> Vec<(String, bool)> {
    let alive =
        |name: &String| State::of(name).is_ok_and(|state| state.is_alive() || state.foreign().is_some());
    State::all().into_iter().map(|name| (name.clone(), alive(&name))).collect()
}

fn make(state: &State, options: &Options, lock: &File, say: &(dyn Fn(&str) + Sync)) -> Result<Cluster> {
    prepare(state, options)?;
    anchor::launch(state, lock)?;
    wait_for_supervisors(state, options)?;
    say("namespaces, networks, etcd, API server and containerd started");
    let cluster = Cluster::open(state.clone())?;
    thread::scope(|scope| {
        let images = scope.spawn(|| provide_images(state, &cluster, say));
        wait_for_api(&cluster)?;
        say("API server ready");
        cluster.apply(&manifests::all(options).to_string()).context("cannot make the first objects")?;
        for part in [Part::ControllerManager, Part::Scheduler] {
            cluster.part(part).start()?;
        }
        for node in cluster.nodes() {
            node.part(NodePart::Kubelet).start()?;
            node.part(NodePart::KubeProxy).start()?;
        }
        // A pod whose image is not there yet is tried again by its kubelet.
        wait_until_ready(&cluster, say)?;
        images.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })?;
    fs::write(state.ready(), "").context("cannot note that the cluster is ready")?;
    Ok(cluster)
}

/// What the anchor finds when it starts.
fn prepare(state: &State, options: &Options) -> Result<()> {
    for folder in options.node_names().iter().map(|node| state.node(node)).chain([state.control()]) {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut users = vec![
        User::admin(),
        User::agent(),
        User::component("kube-controller-manager"),
        User::component("kube-scheduler"),
        User::component("kube-proxy"),
    ];
    users.extend(options.node_names().iter().map(|node| User::node(node)));
    let credentials = Credentials::write(&state.credentials(), &users)?;
    let url = anchor::api_server(options).url();
    for user in &users {
        credentials.kubeconfig(user, &url)?;
    }
    Ok(())
}

/// Makes the images and gives them to every node, the ones first that the cluster itself needs.
fn provide_images(state: &State, cluster: &Cluster, say: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let folder = state.disk().join("images");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let images = [images::pause(), images::coredns()?, images::test()?];
    let archive = folder.join("image.tar");
    for node in cluster.nodes() {
        wait_for(&format!("containerd of {} listens", node.name()), READY, || {
            node.path("/run/containerd/containerd.sock").exists().then_some(())
        })
        .with_context(|| node.part(NodePart::Containerd).log())?;
    }
    for image in images {
        image.write(&archive)?;
        thread::scope(|scope| {
            let loading: Vec<_> =
                cluster.nodes().iter().map(|node| scope.spawn(|| load_image(node, &archive))).collect();
            loading
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
        })?;
        // The nodes have it in their own stores.
        fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    }
    say("images loaded");
    Ok(())
}

fn wait_for_supervisors(state: &State, options: &Options) -> Result<()> {
    let anchor_log = || fs::read_to_string(state.folder().join("anchor.log")).unwrap_or_default();
    let nodes = options.node_names();
    let started = wait_for("the cluster's processes start", READY, || {
        let there = supervisor::is_there(&state.control())
            && nodes.iter().all(|node| supervisor::is_there(&state.node(node)));
        if there {
            return Some(true);
        }
        let noted = state.anchor_file().exists() && state.anchor().is_none();
        noted.then_some(false)
    });
    match started {
        Ok(true) => Ok(()),
        Ok(false) => bail!("the anchor has ended:\n{}", anchor_log()),
        Err(error) => {
            let logs: Vec<String> =
                nodes.iter().map(|node| read(&state.control().join(format!("{node}.log")))).collect();
            Err(error.context(format!("{}\n{}", anchor_log(), logs.join("\n"))))
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn wait_for_api(cluster: &Cluster) -> Result<()> {
    let server = cluster.part(Part::ApiServer);
    let ready = wait_for("the API server is ready", READY, || {
        let (Some(_), true) = (server.pid(), cluster.is_listening()) else {
            thread::sleep(Duration::from_millis(50));
            return server.pid().is_none().then_some(false);
        };
        let ready = cluster.kubectl(&["get", "--raw", "/readyz"]).is_ok()
            && cluster.kubectl(&["get", "namespace", "default", "kube-system"]).is_ok();
        if !ready {
            thread::sleep(Duration::from_millis(150));
        }
        ready.then_some(true)
    });
    match ready {
        Ok(true) => Ok(()),
        Ok(false) => bail!("the API server has ended:\n{}", server.log()),
        Err(error) => Err(error.context(server.log())),
    }
}

fn wait_until_ready(cluster: &Cluster, say: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let timeout = format!("--timeout={}s", READY.as_secs());
    let nodes = cluster.kubectl(&["wait", "node", "--all", "--for=condition=Ready", &timeout]);
    if let Err(error) = nodes {
        let logs: Vec<String> =
            cluster.nodes().iter().map(|node| node.part(NodePart::Kubelet).log()).collect();
        return Err(error.context(format!("nodes are not ready:\n{}", logs.join("\n"))));
    }
    say("nodes ready");
    let dns = ["rollout", "status", "deployment/coredns", "--namespace=kube-system", &timeout];
    if let Err(error) = cluster.kubectl(&dns) {
        let pods = cluster.kubectl(&["describe", "pods", "--all-namespaces"]).unwrap_or_default();
        return Err(error.context(format!("CoreDNS is not ready:\n{pods}")));
    }
    cluster.kubectl(&["wait", "serviceaccount/default", "--for=create", &timeout])?;
    say("CoreDNS ready");
    Ok(())
}
