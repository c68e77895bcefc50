//! Runs a command beside an instance: in its folder, with its environment, as its user.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::spec::Spec;
use super::{sys, user};
use crate::engine::HealthcheckResult;

/// Bytes of the output that are kept for messages.
const OUTPUT_KEPT: usize = 1024;

/// Waits for its end, `limit` long; then it is killed.
pub(super) async fn run(spec: &Spec, command: &[String], limit: Duration) -> HealthcheckResult {
    let mut built = match build(spec, command) {
        Ok(built) => built,
        Err(reason) => return failed(reason),
    };
    match timeout(limit, built.output()).await {
        Ok(Ok(output)) => {
            let all = [output.stdout, output.stderr].concat();
            let kept = &all[..all.len().min(OUTPUT_KEPT)];
            HealthcheckResult {
                healthy: output.status.success(),
                exit_code: output.status.code().map_or(-1, i64::from),
                output: String::from_utf8_lossy(kept).trim().to_owned(),
            }
        }
        Ok(Err(error)) => failed(error.to_string()),
        Err(_) => failed(format!("no result after {} ms", limit.as_millis())),
    }
}

fn failed(output: String) -> HealthcheckResult {
    HealthcheckResult {
        healthy: false,
        exit_code: -1,
        output,
    }
}

fn build(spec: &Spec, command: &[String]) -> Result<Command, String> {
    let service = &spec.service;
    let Some((program, arguments)) = command.split_first() else {
        return Err("the command is empty".to_owned());
    };
    let mut built = std::process::Command::new(program);
    built
        .args(arguments)
        .env_clear()
        .envs(&service.environment)
        .current_dir(&service.working_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(port) = spec.port {
        built.env("PORT", port.to_string());
    }
    if let Some(name) = &service.user {
        let identity = user::resolve(name).map_err(|reason| format!("user: {reason}"))?;
        sys::run_as(&mut built, &identity);
    }
    let mut built = Command::from(built);
    built.kill_on_drop(true);
    Ok(built)
}
