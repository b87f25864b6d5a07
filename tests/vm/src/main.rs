//! The first program (`init`) of the virtual machines in which netpol is tried on other kernels.
//!
//! `cargo xtask test` packs it with the kernel's modules and a job, and boots. It mounts what a job needs, loads the
//! modules, runs the job, and reports the job's exit code to the machine's host. Started anywhere but as the first
//! process it only says what it is for.

mod excerpt;
mod machine;

use std::process::Command;

/// The lines between which the job's own output stands; xtask looks for them.
const BEGIN: &str = "netpol-vm: job begins";
const END: &str = "netpol-vm: job ends";

/// Reported when the job could not be run at all.
const NO_JOB: u8 = 120;

fn main() {
    if std::process::id() != 1 {
        eprintln!(
            "netpol-vm-init is the first program of a test machine; run `cargo xtask test --kernel all`"
        );
        std::process::exit(2);
    }
    let code = match prepare().and_then(|()| run_job()) {
        Ok(code) => code,
        Err(error) => {
            println!("netpol-vm: {error}");
            NO_JOB
        }
    };
    machine::end(code);
}

fn prepare() -> Result<(), String> {
    for (kind, target) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("bpf", "/sys/fs/bpf"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
        ("devtmpfs", "/dev"),
    ] {
        machine::mount(kind, target)?;
    }
    let mut modules: Vec<_> = std::fs::read_dir("/modules")
        .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
        .unwrap_or_default();
    // Their names begin with a number, since each must come after those that it needs.
    modules.sort();
    for module in modules {
        machine::load_module(&module)?;
    }
    machine::set_up_loopback()
}

/// Runs the commands of `/job/commands`: one argument per line, commands parted by an empty line. All are run; the
/// first that fails gives the code.
fn run_job() -> Result<u8, String> {
    let text = std::fs::read_to_string("/job/commands")
        .map_err(|error| format!("cannot read /job/commands: {error}"))?;
    let mut code = 0;
    println!("{BEGIN}");
    for command in text.split("\n\n") {
        let mut words = command.lines();
        let Some(program) = words.next() else { continue };
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir("/tmp")
            // NETPOL_VM tells a test that it runs on an emulated processor, a few dozen times slower than usual.
            .envs([
                ("HOME", "/tmp"),
                ("NETPOL_BIN", "/job/netpol"),
                ("NETPOL_VM", "1"),
                ("RUST_BACKTRACE", "0"),
            ]);
        let status = excerpt::run(command).map_err(|error| format!("cannot run {program}: {error}"))?;
        // Seven bits fit the report; a signal has no code and must not read as none.
        let own = status.code().map_or(NO_JOB, |code| code.clamp(0, 119) as u8);
        println!("netpol-vm: {program} ended with {own}");
        if code == 0 {
            code = own;
        }
    }
    println!("{END} ({code})");
    Ok(code)
}
