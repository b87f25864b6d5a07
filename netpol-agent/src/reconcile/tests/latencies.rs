use super::*;

impl Given {
    /// Samples of the histogram: all, and those within half a second.
    fn samples(&self) -> (u64, u64) {
        let text =
            crate::metrics::text(self.reconciler.status(Duration::ZERO), &self.reconciler.options.latencies);
        let of = |line: &str| {
            let name = format!("netpol_enforcement_latency_seconds_{line} ");
            text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
        };
        (of("count"), of("bucket{le=\"0.5\"}"))
    }

    /// Changes of a pod's labels that were read so long ago.
    fn hears(&mut self, ago: &[Duration]) {
        let events = objects(&[pod("a", 5)]).into_iter().map(SourceEvent::Apply).collect();
        let read = ago.iter().map(|ago| Instant::now().checked_sub(*ago).unwrap()).collect();
        let update = SourceUpdate { events, read, synced: true, ..SourceUpdate::default() };
        self.reconciler.take_objects(update);
    }
}

#[test]
fn changes_that_are_written_together_are_each_measured_from_their_own_start() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5)]).settles();
    assert_eq!(given.samples(), (0, 0), "what was listed is no change");
    let second = Duration::from_secs(1);
    given.hears(&[second, second, Duration::ZERO]);
    given.hears(&[Duration::ZERO]);
    assert_eq!(given.samples(), (0, 0), "nothing is written yet");
    given.settles();
    assert_eq!(given.samples(), (4, 2));
    given.settles();
    assert_eq!(given.samples(), (4, 2), "each is measured once");
}

#[test]
fn times_that_are_kept_have_a_bound() {
    let mut given = Given::fresh();
    given.hears(&vec![Duration::ZERO; PENDING - 1]);
    given.hears(&[Duration::ZERO; 2]);
    given.finds(&[("a", 5)]).settles();
    assert_eq!(given.samples().0, u64::try_from(PENDING).unwrap());
}
