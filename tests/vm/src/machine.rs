//! The system calls that the first process needs: mounts, modules, the loopback interface, and the report at the end.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

/// The port of qemu's isa-debug-exit device, as xtask sets it up.
#[cfg(target_arch = "x86_64")]
const EXIT_PORT: u16 = 0xf4;

/// Mounts a file system without a device. One that the kernel mounted already is fine.
pub(crate) fn mount(kind: &str, target: &str) -> Result<(), String> {
    fs::create_dir_all(target).map_err(|error| format!("cannot create {target}: {error}"))?;
    let kind_text = text(kind)?;
    let target_text = text(target)?;
    // SAFETY: the three pointers are to strings that end with zero and outlive the call; no data is given.
    let result = unsafe {
        libc::mount(kind_text.as_ptr(), target_text.as_ptr(), kind_text.as_ptr(), 0, std::ptr::null())
    };
    match last_error(result.into()) {
        Some(error) if error.raw_os_error() != Some(libc::EBUSY) => {
            Err(format!("cannot mount {kind} on {target}: {error}"))
        }
        _ => Ok(()),
    }
}

/// Loads one module. One that is there already is fine.
pub(crate) fn load_module(path: &Path) -> Result<(), String> {
    let image = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    // SAFETY: the kernel reads `image.len()` bytes at the first pointer and a string at the second, an empty one.
    let result = unsafe { libc::syscall(libc::SYS_init_module, image.as_ptr(), image.len(), c"".as_ptr()) };
    match last_error(result) {
        Some(error) if error.raw_os_error() != Some(libc::EEXIST) => {
            Err(format!("cannot load {}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Sets the loopback interface up, as every job expects it.
pub(crate) fn set_up_loopback() -> Result<(), String> {
    // SAFETY: an ifreq is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: a plain system call with constants.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if let Some(error) = last_error(socket.into()) {
        return Err(format!("cannot make a socket: {error}"));
    }
    // SAFETY: the request is an ifreq with name and flags set, which is what SIOCSIFFLAGS reads.
    let result = unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &request) };
    let error = last_error(result.into());
    // SAFETY: the descriptor was made above and is used by nobody else.
    unsafe { libc::close(socket) };
    error.map_or(Ok(()), |error| Err(format!("cannot set up the loopback interface: {error}")))
}

/// Reports `code` to the host and stops the machine.
pub(crate) fn end(code: u8) -> ! {
    use std::io::Write as _;
    // What is still in the buffer is the reason for a failure. Nobody is left to tell that it could not be written.
    io::stdout().flush().ok();
    // SAFETY: no pointers; waits until the serial line has sent everything. The first process may do so.
    unsafe { libc::tcdrain(1) };
    report(code);
    // Not reached where the device is: writing to it ends the machine.
    // SAFETY: no pointers.
    unsafe { libc::reboot(libc::RB_POWER_OFF) };
    loop {
        std::thread::park();
    }
}

#[cfg(target_arch = "x86_64")]
fn report(code: u8) {
    // SAFETY: asks for the right to use I/O ports; the first process has it.
    if unsafe { libc::iopl(3) } != 0 {
        println!("netpol-vm: cannot use I/O ports: {}", io::Error::last_os_error());
        return;
    }
    // SAFETY: writes one byte to the port of the exit device, and touches neither memory nor stack.
    unsafe {
        std::arch::asm!("out dx, al", in("dx") EXIT_PORT, in("al") code, options(nomem, nostack));
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn report(_: u8) {}

fn text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} has a zero in it"))
}

fn last_error(result: libc::c_long) -> Option<io::Error> {
    (result < 0).then(io::Error::last_os_error)
}
