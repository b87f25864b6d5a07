//! The agent's parts, wired together; each is named once, here.
//!
//! ```text
//! gate      (thread) ── closes new interfaces
//! objects   (thread) ─┐                                   ┌─ datapath ─ kernel
//! discovery (thread) ─┼─ Input ─ reconciler (main thread) ┤
//! watch     (thread) ─┤
//! rings     (thread) ─┤                                   └─ log ─ server ─ command line
//! server    (tokio)  ─┘
//! ```

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use netpol_policy::engine::Settings;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::{
    announce::Announcer,
    config::{Config, Objects},
    control::{
        protocol::{Cause, Gap, Moment},
        server::Server,
    },
    datapath::{self, Alive, Claim, Datapath, Told},
    discovery::{
        Discovery,
        fresh::{Change, Fresh},
        local::{Local, Places},
    },
    memory, metrics,
    reconcile::{Input, Options, Reconciler, drive},
    sources::{
        Source,
        api::{Api, before_the_first_list},
        manifests::Manifests,
    },
    verdicts::{log::Log, rings},
    watch::Watch,
};

/// How often the agent says that it is alive.
const ALIVE: Duration = Duration::from_secs(1);

/// Runs until a signal says to stop. Enforcement goes on from the pins then; the next agent picks it up.
///
/// # Errors
/// When a part cannot start, or fails later.
pub fn run(config: &Config) -> anyhow::Result<()> {
    end_by_any_panic();
    memory::return_large_blocks();
    let source: Box<dyn Source> = match &config.objects {
        Objects::Manifests(folder) => Box::new(Manifests::new(folder)?),
        Objects::Api(access) => Box::new(Api::new(access, &config.node)?),
    };
    let places = Places {
        cache: config.cni_cache.clone(),
        sandboxes: config.sandbox_folder.clone(),
        names: config.sandboxes.clone(),
        excluded: config.excluded.clone(),
    };
    let fresh = Fresh::new(&places)?;
    let discovery = Local::new(places)?;
    // First of all: two agents must never write the same tables.
    let _claim = Claim::take(&config.bpffs)?;
    let server = Server::bind(&config.socket)?;
    let (mut datapath, recovered) = Datapath::open(datapath::Options {
        bpffs: config.bpffs.clone(),
        sizes: config.sizes.clone(),
        timeouts: config.timeouts,
        attach: config.attach,
        reports: config.verdicts,
    })
    .context("cannot open the datapath")?;
    let mut events = datapath.events().context("cannot open the rings of verdicts")?;
    let (inputs, hears) = mpsc::channel();
    let to_reconciler = inputs.clone();
    let gate = datapath
        .gate(move || drop(to_reconciler.send(Input::GateFailed)))
        .context("cannot load what closes new interfaces")?;
    let watch = Watch {
        attached: datapath.attached(),
        own_xdp: gate.program_id(),
        bpffs: config.bpffs.parent().unwrap_or(&config.bpffs).to_owned(),
    };
    let discovery: Box<dyn Discovery> = Box::new(discovery.with_own_xdp(gate.program_id()));

    let mut alive = datapath.alive().context("cannot tell when an agent was last alive")?;
    let told = datapath.told().context("cannot tell which verdicts an agent before has told of")?;
    let latencies = metrics::latencies();
    let options = Options {
        node: config.node.clone(),
        source: source.name(),
        discovery: discovery.name(),
        trust_tag: config.trust_tag,
        sizes: config.sizes.clone(),
        alive: last_alive(&alive),
        latencies: latencies.clone(),
    };
    info!(
        node = options.node,
        source = options.source,
        discovery = options.discovery,
        bpffs = %config.bpffs.display(),
        recovered = recovered.0.len(),
        "starting"
    );
    let pause = match config.objects {
        Objects::Api(_) if !recovered.0.is_empty() => before_the_first_list(),
        _ => Duration::ZERO,
    };
    let log = Arc::new(Log::new(config.history));
    tell_untold(&told, options.alive, &log);
    let mut reconciler = Reconciler::new(options, settings(config), recovered, datapath);

    spawn("gate", inputs.clone(), move || {
        fresh.run(&mut |change| {
            match change {
                Change::New(ifindex) => gate.close(ifindex),
                Change::Gone(ifindex) => gate.forget(ifindex),
            }
            true
        })
    })?;
    let to_reconciler = inputs.clone();
    spawn("source", inputs.clone(), move || {
        thread::sleep(pause);
        source.run(&mut |update| to_reconciler.send(Input::Objects(update)).is_ok())
    })?;
    let to_reconciler = inputs.clone();
    spawn("discovery", inputs.clone(), move || {
        discovery.run(&mut |discovered| to_reconciler.send(Input::Interfaces(discovered)).is_ok())
    })?;
    let to_reconciler = inputs.clone();
    spawn("watch", inputs.clone(), move || {
        watch.run(&mut |sighting| to_reconciler.send(Input::Hooks(sighting)).is_ok())
    })?;
    rings::start(
        move |each| {
            events.drain(&mut |_cpu, event| each(event));
        },
        inputs.clone(),
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut terminate = {
        let _inside = runtime.enter();
        [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]
    };
    let to_reconciler = inputs.clone();
    runtime.spawn(async move {
        let [term, int] = &mut terminate;
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        info!("stopping; what is enforced stays in force (`netpol agent --uninstall` takes it down)");
        // Nobody hears it when it has stopped already.
        let _stopped = to_reconciler.send(Input::Stop);
    });
    runtime.spawn(async move {
        loop {
            // What an absence is reckoned from.
            if let Err(error) = alive.say() {
                warn!("cannot say that the agent is alive: {:#}", anyhow::Error::new(error));
            }
            tokio::time::sleep(ALIVE).await;
        }
    });
    if let Some(address) = config.metrics {
        let (to_reconciler, serving) = (inputs.clone(), metrics::serve(address, inputs.clone(), latencies));
        runtime.spawn(async move {
            if let Err(error) = serving.await {
                let _stopped = to_reconciler.send(Input::Failed(format!("{error:#}")));
            }
        });
    }
    if let Objects::Api(access) = &config.objects {
        let (access, node) = (access.clone(), config.node.clone());
        let announcer = Announcer { access, node, taint: config.startup_taint.clone() };
        runtime.spawn(announcer.run(inputs.clone()));
    }
    let to_reconciler = inputs.clone();
    let serving = server.serve(inputs, log.clone())?;
    runtime.spawn(async move {
        if let Err(error) = serving.await {
            let _stopped = to_reconciler.send(Input::Failed(format!("the socket has failed: {error:#}")));
        }
    });

    let outcome = drive(&mut reconciler, &hears, &log, &told);
    // Clients are let go at once.
    runtime.shutdown_background();
    outcome
}

/// A part that has panicked would be missing unsaid. The next agent picks up what is enforced.
fn end_by_any_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        std::process::abort();
    }));
}

/// Says what the agent before had read out of the rings, and not told when it ended.
fn tell_untold(told: &Told, alive: Option<Moment>, log: &Log) {
    let count = told.untold();
    if count == 0 {
        return;
    }
    let time = Moment::now();
    // It said that it was alive before it read them, or at most once since.
    let since = alive.unwrap_or(time).milliseconds() - ALIVE.as_millis() as i64;
    let since = Moment::from_milliseconds(since);
    log.add_gap(Gap { time, since, cause: Cause::AgentEnded, count, endpoint: String::new() });
    told.hand_on(count);
}

/// The time of day at which an agent was last alive.
fn last_alive(alive: &Alive) -> Option<Moment> {
    let ago =
        alive.last().inspect_err(|error| warn!(%error, "cannot tell when an agent was last alive")).ok()?;
    let ago = i64::try_from(ago.as_millis()).ok()?;
    Some(Moment::from_milliseconds(Moment::now().milliseconds().saturating_sub(ago)))
}

fn settings(config: &Config) -> Settings {
    Settings {
        node: config.node.as_str().into(),
        service_cidrs: config.service_cidrs.clone(),
        frontend_grace: config.frontend_grace,
        hook_linger: config.hook_linger,
        policy_sets: config.sizes.policy_sets,
        port_sets: config.sizes.port_sets,
        prefixes: config.sizes.prefixes,
        slots: netpol_common::tables::SLOTS,
        ..Settings::default()
    }
}

/// A thread whose end is the end of the agent.
fn spawn(
    name: &'static str,
    inputs: mpsc::Sender<Input>,
    run: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(reason) = run() {
            error!("{name}: {reason:#}");
            let _stopped = inputs.send(Input::Failed(format!("the {name} has failed: {reason:#}")));
        }
    })?;
    Ok(())
}
