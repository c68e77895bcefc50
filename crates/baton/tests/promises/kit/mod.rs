//! A machine with a daemon, an app in a folder, and waiting on conditions.

pub(crate) mod app;
mod asked;
pub(crate) mod browser;
pub(crate) mod cgroup;
pub(crate) mod crowd;
pub(crate) mod machine;
pub(crate) mod nginx;
pub(crate) mod pebble;
pub(crate) mod private_engine;
pub(crate) mod processes;
mod ran;
pub(crate) mod receiver;
pub(crate) mod redis;
pub(crate) mod registry;
pub(crate) mod scrape;
pub(crate) mod tls;

use std::time::{Duration, Instant};

pub(crate) use app::{App, Engine};
pub(crate) use machine::Machine;
pub(crate) use ran::Ran;

/// How many deploys a test makes: `full` in its long form, a third of them (four at least) in its short
/// one; `BATON_TEST_DEPLOYS` says another number.
pub(crate) fn deploys(full: u64) -> u64 {
    let short = full.min((full / 3).max(4));
    std::env::var("BATON_TEST_DEPLOYS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(if long() { full } else { short })
}

/// `BATON_LONG=1`: the long form of a test, which takes many minutes.
pub(crate) fn long() -> bool {
    std::env::var("BATON_LONG").is_ok_and(|value| value == "1")
}

/// Waits until `look` gives something; panics after `limit` with what was waited for.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
