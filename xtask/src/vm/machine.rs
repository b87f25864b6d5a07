//! qemu: one boot, one exit status. Knows nothing of what runs inside.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process;

/// A machine that has not ended by then hangs. One is up in five seconds on an idle host.
const LIMIT: Duration = Duration::from_secs(180);

/// Boots `image` with `initrd` and returns what came over the serial line and the status that the job reported.
pub(crate) fn boot(image: &Path, initrd: &Path) -> Result<(String, Result<u8>)> {
    let output = process::with_limit("qemu-system-x86_64", LIMIT)
        // Never KVM: where it is nested, as on many build machines, it can hang at full load.
        .args(["-accel", "tcg", "-cpu", "max", "-m", "1024", "-smp", "1"])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", "console=ttyS0 quiet panic=-1 rdinit=/init"])
        .args([
            "-nographic",
            "-no-reboot",
            "-net",
            "none",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
        ])
        .stdin(Stdio::null())
        .output()
        .context("cannot start qemu-system-x86_64")?;
    let mut console = readable(&String::from_utf8_lossy(&output.stdout));
    console.push_str(&String::from_utf8_lossy(&output.stderr));
    let status = match output.status.code() {
        // The device makes (value << 1) | 1 of what is written to it, so every report is odd.
        Some(code) if code & 1 == 1 && code < 0x100 => Ok((code >> 1) as u8),
        Some(124 | 137) => no_report(&format!("the machine did not end within {} s", LIMIT.as_secs())),
        _ => no_report("the machine ended without a report: the kernel stopped, or could not start the job"),
    };
    Ok((console, status))
}

fn no_report(why: &str) -> Result<u8> {
    bail!("{why}")
}

/// The serial line without what the firmware says and does before the kernel: it clears the screen.
fn readable(serial: &str) -> String {
    let mut text = String::new();
    let mut rest = serial;
    while let Some(start) = rest.find('\x1b') {
        text.push_str(&rest[..start]);
        // `ESC [ parameters letter`, or ESC and one letter.
        let sequence = &rest[start + 1..];
        let length = match sequence.strip_prefix('[') {
            Some(parameters) => {
                parameters.find(|c: char| c.is_ascii_alphabetic()).map_or(sequence.len(), |at| at + 2)
            }
            None => sequence.chars().next().map_or(0, char::len_utf8),
        };
        rest = &sequence[length..];
    }
    text.push_str(rest);
    let text = text.replace('\r', "");
    match text.split_once("Booting from ROM") {
        Some((_, kernel)) => kernel.trim_start_matches(['.', '\n']).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn the_firmware_is_left_out_and_nothing_of_the_kernel() {
        let serial = "\x1bc\x1b[?7l\x1b[2JSeaBIOS\r\nBooting from ROM..\x1bc\x1b[?7lhello [1]\r\nworld\r\n";
        assert_eq!(readable(serial), "hello [1]\nworld\n");
        assert_eq!(readable("\x1b"), "");
    }
}
