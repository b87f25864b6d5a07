//! The machine that is measured: what it is, and who else was busy on it.

use std::fs;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// What the machine is, and its state when the bench began.
pub(crate) struct Machine {
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The processor's name.
    pub(crate) processor: String,
    /// Processors.
    pub(crate) count: usize,
    /// The one on which everything runs.
    pub(crate) pinned: usize,
    /// When, in UTC.
    pub(crate) date: String,
    /// Whether the kernel compiles eBPF to machine code.
    pub(crate) jit: bool,
    allowed: CpuSet,
    start: Ticks,
    own: u64,
}

/// Who else was busy on the processor, as parts of the time.
pub(crate) struct Load {
    /// Other programs.
    pub(crate) others: f64,
    /// The hypervisor, for others than this machine.
    pub(crate) stolen: f64,
}

impl Machine {
    /// Binds this thread to one processor, the last one that it may use.
    pub(crate) fn pin() -> Result<Self> {
        let this = Pid::from_raw(0);
        let allowed = sched_getaffinity(this).context("cannot ask for the processors")?;
        let usable: Vec<usize> =
            (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
        let pinned = usable.last().copied().context("no processor may be used")?;
        pin_to(pinned)?;
        let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = information
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown", |(_, name)| name.trim());
        Ok(Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            processor: processor.to_owned(),
            count: usable.len(),
            pinned,
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            jit: fs::read_to_string("/proc/sys/net/core/bpf_jit_enable")
                .map_or(true, |state| state.trim() != "0"),
            allowed,
            start: Ticks::read(pinned)?,
            own: cpu_nanoseconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)?,
        })
    }

    /// Another processor than the one on which everything runs.
    pub(crate) fn other(&self) -> Option<usize> {
        (0..CpuSet::count()).find(|cpu| *cpu != self.pinned && self.allowed.is_set(*cpu).unwrap_or(false))
    }

    /// Does something as if this thread had never been bound to a processor: what is started in it runs on every one.
    pub(crate) fn unpinned<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let this = Pid::from_raw(0);
        let bound = sched_getaffinity(this).context("cannot ask for the processors")?;
        sched_setaffinity(this, &self.allowed).context("cannot let go of a processor")?;
        let result = work();
        sched_setaffinity(this, &bound).context("cannot bind to a processor")?;
        result
    }

    /// Who was busy on the processor since then.
    pub(crate) fn load(&self) -> Result<Load> {
        let now = Ticks::read(self.pinned)?;
        let own = (cpu_nanoseconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)? - self.own) as f64 / 1e7;
        let all = (now.all - self.start.all).max(1) as f64;
        Ok(Load {
            others: ((now.busy - self.start.busy) as f64 - own).max(0.0) / all,
            stolen: (now.stolen - self.start.stolen) as f64 / all,
        })
    }
}

/// Binds the calling thread to a processor.
pub(crate) fn pin_to(cpu: usize) -> Result<()> {
    let mut one = CpuSet::new();
    one.set(cpu).context("cannot choose a processor")?;
    sched_setaffinity(Pid::from_raw(0), &one).context("cannot bind to a processor")
}

/// The processor time that this process or thread has used, in nanoseconds.
pub(crate) fn cpu_nanoseconds(clock: ClockId) -> Result<u64> {
    let time = clock_gettime(clock).context("cannot read the clock")?;
    Ok(time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned())
}

/// A processor's time, in hundredths of a second.
struct Ticks {
    all: u64,
    busy: u64,
    stolen: u64,
}

impl Ticks {
    fn read(cpu: usize) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let name = format!("cpu{cpu} ");
        let line =
            stat.lines().find_map(|line| line.strip_prefix(&name)).context("/proc/stat lacks a processor")?;
        // user, nice, system, idle, iowait, irq, softirq, steal
        let mut fields = [0; 8];
        for (field, text) in fields.iter_mut().zip(line.split_whitespace()) {
            *field = text.parse().context("/proc/stat holds no number")?;
        }
        let [user, nice, system, idle, iowait, irq, softirq, stolen] = fields;
        let busy = user + nice + system + irq + softirq;
        Ok(Self { all: busy + idle + iowait + stolen, busy, stolen })
    }
}
