//! What is known of an instance that did not come up.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::Color;
use baton_engine::{Engine, Instance, InstanceState};

use crate::core::ask;
use crate::outcome::{Failure, Probe};

/// Lines of its log that are shown.
const LINES: usize = 30;

/// Exit, probes and the last lines of the log.
pub(super) async fn of(
    engine: &Arc<dyn Engine>,
    instance: &Instance,
    color: Color,
    probes: Vec<Probe>,
) -> Box<Failure> {
    let exit = match &instance.state {
        InstanceState::Exited(exit) => Some(exit.clone()),
        InstanceState::Created | InstanceState::Running => None,
    };
    Box::new(Failure {
        instance: format!("{} {} ({color})", instance.service, instance.replica),
        probes,
        exit_code: exit.as_ref().and_then(|exit| exit.code),
        oom_killed: exit.as_ref().is_some_and(|exit| exit.oom_killed),
        exit: exit.map(|exit| exit.to_string()),
        log: log(engine, instance).await,
    })
}

async fn log(engine: &Arc<dyn Engine>, instance: &Instance) -> Vec<String> {
    let Ok(mut lines) = ask("logs", engine.logs(&instance.id, LINES, false)).await else {
        return Vec::new();
    };
    let mut log = Vec::new();
    // A log that does not end is cut short: what came is shown.
    let read = async {
        while let Some(line) = lines.recv().await {
            log.push(line.text);
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(3), read).await;
    if log.len() > LINES {
        log.drain(..log.len() - LINES);
    }
    log
}
