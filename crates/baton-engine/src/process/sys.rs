//! The four calls that Rust's standard library, tokio and rustix offer no safe form of. All unsafe code of
//! the process engine is here.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::thread::{Gid, Uid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::tap::Tap;
use super::user::Identity;

/// What [`watch`] takes: a type that owns one descriptor, which is open and the same as long as the
/// value lives.
pub(super) trait OwnsOneDescriptor: AsRawFd {}
impl OwnsOneDescriptor for OwnedFd {}
impl OwnsOneDescriptor for Tap {}

/// Lets tokio tell when `inner` becomes readable.
pub(super) fn watch<T: OwnsOneDescriptor>(inner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the descriptor stays open and the same until the AsyncFd, which owns `inner`, has
    // deregistered it; that is what `OwnsOneDescriptor` stands for.
    let watched = unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) };
    Ok(watched?)
}

/// Lets the command run as `identity`: groups, then group, then user.
pub(super) fn run_as(command: &mut Command, identity: &Identity) {
    let groups: Vec<Gid> = identity
        .groups
        .iter()
        .map(|id| Gid::from_raw(*id))
        .collect();
    let gid = Gid::from_raw(identity.gid);
    let uid = Uid::from_raw(identity.uid);
    let become_it = move || -> io::Result<()> {
        rustix::thread::set_thread_groups(&groups)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe work is allowed. The closure makes three
    // raw system calls with values made before the fork; it allocates nothing and takes no lock. The
    // calls change one thread's identity, and after fork there is but one.
    unsafe { command.pre_exec(become_it) };
}

/// Ends the shim's answer to the engine: the pipe that is its standard output is closed, and
/// `/dev/null` takes the number so that no later file can get it.
pub(super) fn close_stdout(null: &std::fs::File) {
    // SAFETY: dup2 on two descriptors that are open; nobody in this single-threaded program holds
    // descriptor 1 as its own (std's stdout only borrows the number).
    unsafe { libc::dup2(null.as_raw_fd(), 1) };
}

/// A shim must not end before its command does. Called after the command was started: an ignored
/// signal would stay ignored in it.
pub(super) fn ignore_stop_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: SIG_IGN installs no handler, so no code of ours runs in signal context.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
