//! A thread that empties the kernel's rings.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use netpol_common::event::Event;

use crate::reconcile::Input;

/// How often the rings are looked at: no wakeup is asked of the kernel, which would cost it a hundred times more.
const PERIOD: Duration = Duration::from_millis(10);
/// Events in one batch.
const BATCH: usize = 256;
/// Batches that wait for their names before the rings are left alone, so that a flood of verdicts holds up no change of
/// policy; what finds no room in a ring is counted.
const WAITING: usize = 8;

/// A batch of events that counts itself.
#[derive(Debug)]
pub struct Batch {
    /// The events, in the order of each CPU.
    pub events: Vec<Event>,
    waiting: Arc<AtomicUsize>,
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Empties the rings by `drain` until nobody listens any more.
///
/// # Errors
/// When there can be no more threads.
pub fn start(
    mut drain: impl FnMut(&mut dyn FnMut(Event)) + Send + 'static,
    inputs: mpsc::Sender<Input>,
) -> std::io::Result<thread::JoinHandle<()>> {
    let waiting = Arc::new(AtomicUsize::new(0));
    thread::Builder::new().name("verdicts".into()).spawn(move || {
        loop {
            thread::sleep(PERIOD);
            if waiting.load(Ordering::Relaxed) >= WAITING {
                continue;
            }
            let mut events = Vec::new();
            drain(&mut |event| events.push(event));
            // Each CPU has a ring of its own; together they are told in the order of time.
            events.sort_by_key(|event| event.at);
            let mut events = events.into_iter().peekable();
            while events.peek().is_some() {
                waiting.fetch_add(1, Ordering::Relaxed);
                let batch = Batch { events: events.by_ref().take(BATCH).collect(), waiting: waiting.clone() };
                if inputs.send(Input::Verdicts(batch)).is_err() {
                    return;
                }
            }
        }
    })
}
