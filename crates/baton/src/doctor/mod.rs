//! `baton doctor`: what is wrong with this machine, and what to do about it.
//!
//! | module | looks at |
//! | --- | --- |
//! | [`service`] | the daemon and its data folder |
//! | [`ports`] | the ports that it wants, and who has them |
//! | [`containers`] | Docker Engine and Compose |
//! | [`resources`] | memory, disk, open files, the clock |

mod containers;
mod ports;
mod resources;
mod service;

use serde::Serialize;

use crate::client::Client;
use crate::daemon::settings::Settings;

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Well,
    /// It works, and there is something to know.
    Warning,
    /// It keeps Baton from working.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `engine`, `ports`, …
    pub check: &'static str,
    pub state: State,
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Finding {
    fn well(check: &'static str, text: impl Into<String>) -> Finding {
        Finding {
            check,
            state: State::Well,
            text: text.into(),
            next: None,
        }
    }

    fn warning(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Finding {
        Finding {
            state: State::Warning,
            next: Some(next.into()),
            ..Finding::well(check, text)
        }
    }

    fn wrong(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Finding {
        Finding {
            state: State::Wrong,
            next: Some(next.into()),
            ..Finding::well(check, text)
        }
    }
}

/// Looks at everything. `settings` are those that `baton serve` would have here.
pub async fn examine(client: &Client, settings: &Settings) -> Vec<Finding> {
    let daemon = service::daemon(client).await;
    let mut findings = vec![service::finding(&daemon)];
    match &daemon {
        // Its ports are its own.
        Ok(info) => findings.push(ports::of_the_daemon(info)),
        Err(_) => findings.extend(ports::wanted(settings)),
    }
    findings.push(service::data(&settings.data));
    findings.push(containers::engine().await);
    findings.push(containers::compose().await);
    findings.extend(resources::memory());
    findings.extend(resources::disks(&settings.data));
    findings.push(resources::open_files());
    findings.push(resources::clock());
    findings
}
