//! What the next agent says of the verdicts that an agent which was killed has not told of.

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use netpol_tests::Setup;
use netpol_tests::deadline::wait_for;
use netpol_tests::held::denied;
use netpol_tests::probe::ARRIVAL_PATIENCE;
use serde_json::Value;

use crate::observing::{Sender, denied_stranger, observed, sum};
use crate::setup::{ALLOWED, GRANTED, Three};

/// What is asked for.
const FLAGS: [&str; 4] = ["--from", "shop/stranger", "--reason", "policy-denied"];

/// With the rights that the DaemonSet has.
#[test]
#[ignore = "needs root and BPF"]
fn what_came_while_no_agent_ran_is_told_of_by_the_next_one_or_said_to_be_missing() -> Result<()> {
    let agent_flags = vec!["--table-ring-bytes".to_owned(), "4096".to_owned()];
    let mut three = denied_stranger(Setup {
        agent_flags,
        agent_capabilities: Some(GRANTED.to_vec()),
        ..Setup::default()
    })?;
    let sender = Sender::new(&three.stranger, three.server.sockets(ALLOWED)[0])?;
    let counted = |three: &Three| denied(&three.lab.pins());
    let missing = |three: &Three| -> Result<u64> {
        let status = three.lab.agent()?.status()?;
        let count = |field: &str| status[field].as_u64().context("no such counter");
        Ok(count("lostEvents")? + count("limitedEvents")?)
    };
    for sent in [10, 5000] {
        let (had, before) = (missing(&three)?, counted(&three)?);
        three.lab.kill_agent();
        sender.send(sent)?;
        let dropped = counted(&three)? - before;
        ensure!(dropped > 0 && dropped <= sent, "{dropped} of {sent} were dropped");
        three.lab.start_agent()?;
        let all = wait_for("each is told of, or said to be missing", ARRIVAL_PATIENCE, || {
            let all = observed(&three.lab, &FLAGS).ok()?;
            (sum(&all, "verdict") + sum(&all, "gap") == dropped).then_some(all)
        })
        .with_context(|| format!("{dropped} dropped, {:?}", observed(&three.lab, &FLAGS)))?;
        ensure!(sum(&all, "verdict") > 0, "none is told of: {all:?}");
        let lost = missing(&three)? - had;
        ensure!(sum(&all, "gap") == lost, "{lost} are counted as lost: {all:?}");
        ensure!((sum(&all, "gap") > 0) == (sent > 1000), "of {sent} are missing {}", sum(&all, "gap"));
    }
    Ok(())
}

/// How many events agents have read, and how many they have handed on.
fn read_and_handed_on(words: &Array<MapData, u64>) -> Result<(u64, u64)> {
    Ok((words.get(&0, 0)?, words.get(&1, 0)?))
}

#[test]
#[ignore = "needs root and BPF"]
fn what_an_agent_had_read_and_not_told_when_it_was_killed_is_said_by_the_next_one() -> Result<()> {
    /// Of those, so many are said to have been in its hands.
    const HELD: u64 = 5;
    let mut three = denied_stranger(Setup::default())?;
    let sender = Sender::new(&three.stranger, three.server.sockets(ALLOWED)[0])?;
    let counted = denied(&three.lab.pins())?;
    sender.send(20)?;
    let told = || {
        let dropped = denied(&three.lab.pins()).ok()? - counted;
        let told = sum(&observed(&three.lab, &FLAGS).ok()?, "verdict");
        (dropped > HELD && told == dropped).then_some(())
    };
    wait_for("all are told of", ARRIVAL_PATIENCE, told)?;

    let gaps = |three: &Three| -> Result<Vec<Value>> {
        let all = observed(&three.lab, &[])?;
        Ok(all.into_iter().filter(|record| record["type"] == "gap").collect())
    };
    let pin = three.lab.pins().join("maps/TOLD");
    let mut words: Array<_, u64> = Array::try_from(Map::Array(MapData::from_pin(pin)?))?;
    let (read, handed_on) = read_and_handed_on(&words)?;
    ensure!(read > HELD && read == handed_on, "{read} read, {handed_on} handed on");
    three.lab.kill_agent();
    three.lab.start_agent()?;
    ensure!(gaps(&three)?.is_empty(), "nothing is missing: {:?}", gaps(&three)?);

    three.lab.kill_agent();
    let (_, handed_on) = read_and_handed_on(&words)?;
    words.set(1, handed_on - HELD, 0)?;
    three.lab.start_agent()?;
    let said = gaps(&three)?;
    ensure!(
        said.len() == 1 && said[0]["cause"] == "agent-ended" && said[0]["count"] == HELD,
        "{HELD} are missing: {said:?}"
    );
    three.lab.kill_agent();
    three.lab.start_agent()?;
    ensure!(gaps(&three)?.is_empty(), "it is said once: {:?}", gaps(&three)?);
    Ok(())
}
