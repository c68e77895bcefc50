//! What the environment variables ask for.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

/// How this life of the app behaves. All from the environment, so that a release is a compose file.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `BIND`:`PORT`, default `0.0.0.0:8080`.
    pub listen: String,
    /// `BOOT_MS`: time before it listens.
    pub boot: Duration,
    /// `HEALTH_DELAY_MS`: `/healthz` answers 503 for so long after the boot.
    pub health_delay: Duration,
    /// `HEALTH_FAIL=1`: `/healthz` answers 503 for ever.
    pub health_fail: bool,
    /// `CRASH_AT_START=3`: ends with this code before it listens.
    pub crash_at_start: Option<i32>,
    /// `CRASH_AFTER_MS`, with `CRASH_CODE` (default 1): ends by itself later.
    pub crash_after: Option<(Duration, i32)>,
    /// `STOP_DELAY_MS`: works on for so long after SIGTERM.
    pub stop_delay: Duration,
    pub faults: Faults,
    pub ticks: Ticking,
    pub identity: Identity,
}

/// What goes wrong in this life. *Served* is the moment when the first request of a user was answered: not
/// one to `/healthz` or `/internal/…`, nor one of Baton's own (`User-Agent: baton`: warm-up, probes).
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// `RSS_MB`: holds so many MiB from the start of the process on, every page written to.
    pub rss_mb: u64,
    /// `BURN_MS`, with `BURN_THREADS` (default: one a CPU): burns CPU for so long before it listens,
    /// however short `BOOT_MS` is.
    pub burn: Option<(Duration, usize)>,
    /// `OOM_AT_START=1`: after `BOOT_MS`, before it listens, takes memory until it is killed.
    pub oom_at_start: bool,
    /// `OOM_AFTER_SERVED_MS`: the same, so long after *served*.
    pub oom_after_served: Option<Duration>,
    /// `OOM_CAP_MB` (1024): where nobody kills it at so many MiB, it kills itself.
    pub oom_cap_mb: u64,
    /// `CRASH_AFTER_SERVED_MS`, with `CRASH_CODE` (default 1): ends by itself so long after *served*.
    pub crash_after_served: Option<(Duration, i32)>,
    /// `FAIL_PERCENT`: share of requests to `/`, `/who` and `/slow` that are answered with 500.
    pub fail_percent: u64,
    /// `FAIL_AFTER_SERVED_MS`: only from so long after *served* on; unset: always.
    pub fail_after_served: Option<Duration>,
    /// `HEALTH_BAD_AFTER_MS`, with `HEALTH_BAD_FOR_MS` (default: for ever): `/healthz` answers 503 from so
    /// long after the boot, for so long.
    pub health_bad: Option<(Duration, Duration)>,
}

/// The job that `POST /internal/active` starts and stops.
#[derive(Debug, Clone)]
pub struct Ticking {
    /// `TICK_FILE`: gets the lines of each tick (see [`crate::ticks`]); unset: it ticks unseen.
    pub file: Option<PathBuf>,
    /// `TICK_RUN_MS` (0): how long a tick runs. More than 0: a line at its begin and one at its end.
    pub run: Duration,
}

/// What `testapp migrate` does.
#[derive(Debug, Clone)]
pub struct Migration {
    /// `MIGRATE_LINES` (3): so many lines to the standard output.
    pub lines: u64,
    /// `MIGRATE_MS`: then takes so long.
    pub takes: Duration,
    /// `MIGRATE_CODE` (0): then ends with this exit code.
    pub code: u8,
    /// `MIGRATE_FILE`: first of all, gets the line `RELEASE ROLE DB_URL`, each `-` where it is not set.
    pub file: Option<PathBuf>,
    /// `BATON_RELEASE`, `BATON_ROLE` and `DB_URL`
    pub line: String,
}

/// Who answered: sent with every answer.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Identity {
    pub app: String,
    pub color: String,
    pub release: String,
    pub role: String,
    pub version: String,
    pub instance: String,
    pub pid: u32,
}

impl Settings {
    #[must_use]
    pub fn from_env() -> Settings {
        let code = number("CRASH_CODE").map_or(1, |code| code as i32);
        Settings {
            listen: format!("{}:{}", text("BIND", "0.0.0.0"), text("PORT", "8080")),
            boot: millis("BOOT_MS").unwrap_or_default(),
            health_delay: millis("HEALTH_DELAY_MS").unwrap_or_default(),
            health_fail: text("HEALTH_FAIL", "0") == "1",
            crash_at_start: number("CRASH_AT_START").map(|code| code as i32),
            crash_after: millis("CRASH_AFTER_MS").map(|after| (after, code)),
            stop_delay: millis("STOP_DELAY_MS").unwrap_or_default(),
            faults: Faults::from_env(code),
            ticks: Ticking {
                file: path("TICK_FILE"),
                run: millis("TICK_RUN_MS").unwrap_or_default(),
            },
            identity: Identity {
                app: text("BATON_APP", ""),
                color: text("BATON_COLOR", "none"),
                release: text("BATON_RELEASE", "none"),
                role: text("BATON_ROLE", ""),
                version: text("VERSION", ""),
                instance: text("HOSTNAME", ""),
                pid: std::process::id(),
            },
        }
    }
}

impl Identity {
    /// `HOSTNAME/pid`: no two instances have the same. Containers have pid 1, processes one host name.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.instance, self.pid)
    }
}

impl Faults {
    fn from_env(crash_code: i32) -> Faults {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = number("BURN_THREADS").map_or(cpus, |threads| threads as usize);
        let bad_for = millis("HEALTH_BAD_FOR_MS").unwrap_or(Duration::MAX);
        Faults {
            rss_mb: number("RSS_MB").unwrap_or(0),
            burn: millis("BURN_MS").map(|time| (time, threads)),
            oom_at_start: text("OOM_AT_START", "0") == "1",
            oom_after_served: millis("OOM_AFTER_SERVED_MS"),
            oom_cap_mb: number("OOM_CAP_MB").unwrap_or(1024),
            crash_after_served: millis("CRASH_AFTER_SERVED_MS").map(|after| (after, crash_code)),
            fail_percent: number("FAIL_PERCENT").unwrap_or(0),
            fail_after_served: millis("FAIL_AFTER_SERVED_MS"),
            health_bad: millis("HEALTH_BAD_AFTER_MS").map(|after| (after, bad_for)),
        }
    }
}

impl Migration {
    #[must_use]
    pub fn from_env() -> Migration {
        let said = ["BATON_RELEASE", "BATON_ROLE", "DB_URL"].map(|name| text(name, "-"));
        Migration {
            lines: number("MIGRATE_LINES").unwrap_or(3),
            takes: millis("MIGRATE_MS").unwrap_or_default(),
            code: number("MIGRATE_CODE").map_or(0, |code| code as u8),
            file: path("MIGRATE_FILE"),
            line: said.join(" "),
        }
    }
}

fn millis(name: &str) -> Option<Duration> {
    number(name).map(Duration::from_millis)
}

fn path(name: &str) -> Option<PathBuf> {
    Some(text(name, ""))
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

pub(crate) fn text(name: &str, default: &str) -> String {
    env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| default.to_owned())
}

pub(crate) fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|value| value.parse().ok())
}
