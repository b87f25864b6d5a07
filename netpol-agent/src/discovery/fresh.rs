//! New interfaces that lead into sandboxes, as soon as the kernel tells of them: whoever closes them waits for no list of
//! everything, no file of a plugin's, and no search through processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::StreamExt as _;
use globset::GlobSet;
use rtnetlink::{Handle, MulticastGroup, new_connection_with_strict_check};
use tracing::warn;

use super::{
    links::{self, Event, Link, LinkKind},
    local::Places,
    sandboxes::Sandboxes,
};

/// How often everything is looked through.
const IDLE: Duration = Duration::from_secs(10);

/// What has become of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It leads into a sandbox, and was not there at the start.
    New(u32),
    /// It is gone.
    Gone(u32),
}

/// Follows new interfaces.
#[derive(Debug)]
pub struct Fresh {
    sandboxes: Sandboxes,
    excluded: GlobSet,
    /// Interfaces that are new no more.
    known: BTreeSet<u32>,
}

impl Fresh {
    /// Looks there.
    ///
    /// # Errors
    /// When a pattern is none.
    pub fn new(places: &Places) -> anyhow::Result<Self> {
        let sandboxes = Sandboxes::new(places.sandboxes.clone(), places.sandbox_names()?);
        Ok(Self { sandboxes, excluded: places.excluded_interfaces()?, known: BTreeSet::new() })
    }

    /// Reports changes until `deliver` says that nobody listens any more (it returns `false`). Runs on a thread of its own.
    ///
    /// # Errors
    /// When the kernel says nothing any more.
    pub fn run(mut self, deliver: &mut dyn FnMut(Change) -> bool) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.follow(deliver))
    }

    async fn follow(&mut self, deliver: &mut dyn FnMut(Change) -> bool) -> anyhow::Result<()> {
        let mut messages = links::listen(&[MulticastGroup::Link])?;
        let (connection, handle, _) = new_connection_with_strict_check().context("cannot open netlink")?;
        tokio::spawn(connection);
        // Of pods that were there before, it is not known yet whether anything restricts them.
        self.known = links::list(&handle)
            .await
            .context("cannot list the interfaces of this host")?
            .into_keys()
            .collect();
        let mut everything = Instant::now() + IDLE;
        loop {
            let mut events = Vec::new();
            tokio::select! {
                message = messages.next() => {
                    let (message, _) = message.context("netlink has closed")?;
                    match links::event(&message) {
                        Event::Lost => {
                            warn!("the kernel had no room for some events: all interfaces are looked through for new ones");
                            events = links::rest(&mut messages).await;
                            everything = Instant::now();
                        }
                        event => events.push(event),
                    }
                }
                () = tokio::time::sleep_until(everything.into()) => {
                    events = self.everything(&handle).await?;
                    everything = Instant::now() + IDLE;
                }
            }
            for event in events {
                if self.may_be_new(&event) {
                    self.sandboxes.look(&handle, std::iter::empty()).await;
                }
                if let Some(change) = self.take(&event)
                    && !deliver(change)
                {
                    return Ok(());
                }
            }
        }
    }

    /// Looks through everything for what no event has told.
    async fn everything(&mut self, handle: &Handle) -> anyhow::Result<Vec<Event>> {
        let listed = links::list(handle).await.context("cannot list the interfaces of this host")?;
        // The ids are given again.
        self.sandboxes.forget();
        self.sandboxes.look(handle, std::iter::empty()).await;
        Ok(self.missed(listed, links::is_there))
    }

    /// What a list of all interfaces tells that is not known.
    fn missed(&self, listed: BTreeMap<u32, Link>, is_there: impl Fn(u32) -> bool) -> Vec<Event> {
        let gone = |ifindex: &&u32| !listed.contains_key(ifindex) && !is_there(**ifindex);
        let mut events: Vec<Event> =
            self.known.iter().filter(gone).map(|ifindex| Event::Gone(*ifindex)).collect();
        let ids = self.sandboxes.ids();
        let new = |link: &Link| self.leads_away(link) && link.leads_to.is_some_and(|id| ids.contains(&id));
        events.extend(listed.into_values().filter(new).map(Event::There));
        events
    }

    /// Whether it takes a look at the sandboxes to tell.
    fn may_be_new(&self, event: &Event) -> bool {
        matches!(event, Event::There(link) if self.leads_away(link))
    }

    fn leads_away(&self, link: &Link) -> bool {
        link.kind == LinkKind::Veth
            && link.leads_to.is_some()
            && !self.known.contains(&link.ifindex)
            && !self.excluded.is_match(&link.name)
    }

    /// What an event says, after the sandboxes were looked at.
    fn take(&mut self, event: &Event) -> Option<Change> {
        match event {
            Event::There(link) if self.leads_away(link) => {
                let id = link.leads_to?;
                let new = self.sandboxes.ids().contains(&id) && self.known.insert(link.ifindex);
                new.then_some(Change::New(link.ifindex))
            }
            Event::Gone(ifindex) => self.known.remove(ifindex).then_some(Change::Gone(*ifindex)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
