//! For tests of the real daemon: `BATON_FAULT=kill:PLACE` (or `hang:PLACE`) stops a handover there, as
//! `kill -9` (or a bug) would. Not in release builds.

/// Ends or hangs the process here if it was asked for.
#[cfg(debug_assertions)]
pub fn at(place: &str) {
    let Ok(wanted) = std::env::var("BATON_FAULT") else {
        return;
    };
    if wanted.strip_prefix("kill:") == Some(place) {
        // It cannot fail for oneself; if it did, the test that asked for it would.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    if wanted.strip_prefix("hang:") == Some(place) {
        std::thread::sleep(std::time::Duration::from_secs(600));
    }
}

#[cfg(not(debug_assertions))]
pub fn at(_: &str) {}
