//! What happens between fork and exec of a cluster's processes: nothing there may allocate.

use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

/// Turns what a system call returned into a result.
fn checked(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// Lets a command give itself new namespaces.
pub(super) fn unshare(command: &mut Command, flags: libc::c_int) {
    // SAFETY: the closure makes one system call that takes numbers only.
    unsafe { command.pre_exec(move || checked(libc::unshare(flags)).map(drop)) };
}

/// Lets a command keep an open file.
pub(super) fn keep(command: &mut Command, file: RawFd) {
    // SAFETY: the closure makes one system call that takes numbers only.
    unsafe { command.pre_exec(move || checked(libc::fcntl(file, libc::F_SETFD, 0)).map(drop)) };
}

/// Lets a command go on in a new session, in a child that nobody waits for: the process that was started ends at once.
pub(super) fn detach(command: &mut Command) {
    let detach = || {
        // SAFETY: system calls that take numbers only; the process has one thread here.
        unsafe {
            checked(libc::setsid())?;
            if checked(libc::fork())? != 0 {
                libc::_exit(0);
            }
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls.
    unsafe { command.pre_exec(detach) };
}

/// Lets a command go on in a child: only a child is in the process namespace that was entered or made before. The process that
/// was started waits for it and ends as it does; if it is killed, the child is as well.
pub(super) fn into_child(command: &mut Command) {
    let fork = || {
        // SAFETY: system calls that take numbers, and one a local variable; the process has one thread here.
        unsafe {
            let child = checked(libc::fork())?;
            if child == 0 {
                checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
                return Ok(());
            }
            // Whoever started this waits until these are closed or the child has gone on.
            libc::close_range(3, libc::c_uint::MAX, 0);
            let mut status = 0;
            while libc::waitpid(child, &raw mut status, 0) < 0 {
                if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                    libc::_exit(127);
                }
            }
            libc::_exit(if libc::WIFEXITED(status) {
                libc::WEXITSTATUS(status)
            } else {
                128 + libc::WTERMSIG(status)
            })
        }
    };
    // SAFETY: the closure only makes system calls.
    unsafe { command.pre_exec(fork) };
}

/// Lets a command write its process number, as the machine sees it, into a file. `proc` is the machine's `/proc`.
pub(super) fn note_pid(command: &mut Command, proc: RawFd, file: &Path) -> Result<()> {
    let file = CString::new(file.as_os_str().as_bytes())?;
    let note = move || {
        let mut number = [0_u8; 32];
        // SAFETY: the strings and the buffer outlive the calls, and lengths are the buffer's.
        unsafe {
            let length = libc::readlinkat(proc, c"self".as_ptr(), number.as_mut_ptr().cast(), number.len());
            if length < 0 {
                return Err(io::Error::last_os_error());
            }
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
            let file = checked(libc::open(file.as_ptr(), flags, 0o644))?;
            let written = libc::write(file, number.as_ptr().cast(), length.unsigned_abs());
            libc::close(file);
            if written != length {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls.
    unsafe { command.pre_exec(note) };
    Ok(())
}
