//! What the environment variables ask for.

use std::env;
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
    /// `FAIL_PERCENT`: share of requests to `/` answered with 500.
    pub fail_percent: u64,
    /// `STOP_DELAY_MS`: works on for so long after SIGTERM.
    pub stop_delay: Duration,
    pub identity: Identity,
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
        let millis = |name: &str| number(name).map(Duration::from_millis);
        let code = number("CRASH_CODE").map_or(1, |code| code as i32);
        Settings {
            listen: format!("{}:{}", text("BIND", "0.0.0.0"), text("PORT", "8080")),
            boot: millis("BOOT_MS").unwrap_or_default(),
            health_delay: millis("HEALTH_DELAY_MS").unwrap_or_default(),
            health_fail: text("HEALTH_FAIL", "0") == "1",
            crash_at_start: number("CRASH_AT_START").map(|code| code as i32),
            crash_after: millis("CRASH_AFTER_MS").map(|after| (after, code)),
            fail_percent: number("FAIL_PERCENT").unwrap_or(0),
            stop_delay: millis("STOP_DELAY_MS").unwrap_or_default(),
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

pub(crate) fn text(name: &str, default: &str) -> String {
    env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| default.to_owned())
}

pub(crate) fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|value| value.parse().ok())
}
