//! Pins that are missing, somebody else's, or of a version that nobody knows: what they enforce goes on until the next
//! agent has made them anew.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{PodSpec, Setup, eventually, figure, serve};

use super::{Alive, nothing_aside};
use crate::agent::with_filters;
use crate::setup::ALLOWED;

/// How soon it is said that a pod is not hooked.
const SAID: Duration = Duration::from_secs(15);

/// Damage to a folder of pins.
type Damage = (&'static str, fn(&Path) -> Result<()>);

fn removed(pins: &Path, name: &str) -> Result<()> {
    let path = pins.join(name);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// A map of somebody else's in the place of a pin.
fn foreign(pins: &Path, name: &str) -> Result<()> {
    let path = pins.join(name);
    if path.exists() {
        removed(pins, name)?;
    }
    // An array of four elements of two bytes.
    let shape = aya_obj::Map::new_from_params(2, 4, 2, 4, 0);
    MapData::create(shape, "somebody", None)?.pin(&path)?;
    Ok(())
}

fn a_folder(pins: &Path, name: &str) -> Result<()> {
    removed(pins, name)?;
    Ok(fs::create_dir(pins.join(name))?)
}

/// The first entry of a folder.
fn first(pins: &Path, folder: &str) -> Result<String> {
    let entry = fs::read_dir(pins.join(folder))?.next().context("the folder is empty")??;
    Ok(format!("{folder}/{}", entry.file_name().to_string_lossy()))
}

const ALL: [Damage; 14] = [
    ("the addresses are missing", |pins| removed(pins, "maps/PEERS")),
    ("the rows are missing", |pins| removed(pins, "maps/RULES")),
    ("the ids are missing", |pins| removed(pins, "maps/INTERNED")),
    ("what lists the interfaces is missing", |pins| removed(pins, "maps/INTERFACES")),
    ("the layout's number is missing", |pins| removed(pins, "maps/LAYOUT")),
    ("all maps are missing but one", |pins| {
        for entry in fs::read_dir(pins.join("maps"))? {
            let path = entry?.path();
            if !path.ends_with("ENDPOINTS") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }),
    ("the endpoints are somebody else's", |pins| foreign(pins, "maps/ENDPOINTS")),
    ("the time of the last agent is somebody else's", |pins| foreign(pins, "maps/ALIVE")),
    ("a folder is in the place of the rows", |pins| a_folder(pins, "maps/RULES")),
    ("the layout is of a version that nobody knows", |pins| {
        let mut number: Array<_, u32> =
            Array::try_from(Map::Array(MapData::from_pin(pins.join("maps/LAYOUT"))?))?;
        Ok(number.set(0, 4711, 0)?)
    }),
    ("a table of flows is missing", |pins| removed(pins, &first(pins, "flows")?)),
    ("a table of flows is somebody else's", |pins| foreign(pins, &first(pins, "flows")?)),
    ("a ring is somebody else's", |pins| foreign(pins, "rings/0")),
    ("there are links, gates and maps of somebody else's", |pins| {
        foreign(pins, "links/4000-egress")?;
        foreign(pins, "gates/4000000")?;
        foreign(pins, "maps/SOMEBODY")
    }),
];

fn damaged(setup: Setup, what: &str) -> Result<()> {
    let mut alive = Alive::start(setup)?;
    for (what, damage) in ALL {
        alive.three.lab.kill_agent();
        damage(&alive.three.lab.pins())?;
        alive.three.lab.start_agent().context(what)?;
        alive.goes_on().context(what)?;
        alive.judges().context(what)?;
        anyhow::ensure!(nothing_aside(&alive.three.lab.pins()), "{what}: tables are left aside");
    }
    figure(format_args!("{what}: {} kinds of damage", ALL.len()));
    alive.end(what, false)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_full_bpffs_leaves_all_in_force_and_says_which_new_pods_it_keeps_from_being_enforced() -> Result<()> {
    let mut alive = Alive::start(Setup::default())?;
    let lab = &mut alive.three.lab;
    lab.kill_agent();
    lab.fill_pins(true);
    lab.start_agent()?;
    let late = lab.add_pod(PodSpec::new("shop", "late").label("app", "server"))?;
    let _echo = serve::tcp(&late, ALLOWED)?;
    let is_said = |alive: &Alive| {
        let status = alive.three.lab.agent().and_then(|agent| agent.status()).unwrap_or_default();
        let faults = status["faults"].to_string();
        faults.contains("cannot hook the interface") && status["ready"] == false
    };
    eventually("it is said that the new pod is not hooked", SAID, &true, || is_said(&alive)).with_context(
        || format!("{:#}", alive.three.lab.agent().and_then(|agent| agent.status()).unwrap_or_default()),
    )?;
    alive.goes_on()?;
    alive.judges()?;
    let lab = &mut alive.three.lab;
    lab.kill_agent();
    lab.fill_pins(false);
    lab.start_agent()?;
    lab.settle()?;
    expect_reached(&Probe::all(&alive.three.client, Kind::Tcp, &late.sockets(ALLOWED)))?;
    expect_dropped(&Probe::all(&alive.three.stranger, Kind::Tcp, &late.sockets(ALLOWED)))?;
    alive.end("a full bpffs", false)
}

#[test]
#[ignore = "needs root and BPF"]
fn pins_that_are_missing_or_foreign_or_of_an_unknown_version_are_made_anew_and_nothing_breaks() -> Result<()>
{
    damaged(Setup::default(), "pins truncated, foreign, of an unknown version")
}

#[test]
#[ignore = "needs root and BPF"]
fn pins_that_are_missing_or_foreign_are_made_anew_with_filters() -> Result<()> {
    damaged(with_filters(), "pins truncated or foreign, with filters")
}
