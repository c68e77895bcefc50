//! Runs a service's own Compose healthcheck, or another command, inside a container.
//!
//! Engines.md §2: Docker's first check comes one interval after the start (30 s by default), so Baton
//! runs the check itself while it waits.

use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::ContainerInspectResponse;
use futures_util::StreamExt;
use rustix::process::{Pid, Signal, kill_process};

use crate::docker::client::{CALL_TIMEOUT, Client, call, failed, within};
use crate::docker::{Inner, inspect};
use crate::engine::HealthcheckResult;
use crate::{EngineError, InstanceId};

/// Bytes of the output that are kept for messages.
const OUTPUT_KEPT: usize = 1024;

/// See [`crate::Engine::healthcheck`].
pub(super) async fn healthcheck(
    inner: &Arc<Inner>,
    id: &InstanceId,
    timeout: Duration,
) -> Result<Option<HealthcheckResult>, EngineError> {
    let container = inner.existing("checking the health of", id).await?;
    let Some(command) = command(&container) else {
        return Ok(None);
    };
    run(inner, &container, id, command, timeout).await.map(Some)
}

/// See [`crate::Engine::exec`].
pub(super) async fn exec(
    inner: &Arc<Inner>,
    id: &InstanceId,
    command: &[String],
    timeout: Duration,
) -> Result<HealthcheckResult, EngineError> {
    let container = inner.existing("running a command in", id).await?;
    run(inner, &container, id, command.to_vec(), timeout).await
}

async fn run(
    inner: &Arc<Inner>,
    container: &ContainerInspectResponse,
    id: &InstanceId,
    command: Vec<String>,
    timeout: Duration,
) -> Result<HealthcheckResult, EngineError> {
    let client = inner.client().await?;
    let running = container.state.as_ref().and_then(|state| state.running);
    if !running.unwrap_or(false) {
        return Ok(unhealthy("it does not run".to_owned()));
    }
    let action = format!("running {} in {id}", command.join(" "));
    let options = CreateExecOptions {
        cmd: Some(command),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..CreateExecOptions::default()
    };
    let exec = match call(client.docker.create_exec(&id.0, options)).await {
        Ok(exec) => exec.id,
        // 409: it has just stopped.
        Err(error) if super::client::status(&error) == Some(409) => {
            return Ok(unhealthy(super::client::reason(&error)));
        }
        Err(error) => return Err(failed(action)(error)),
    };
    let mut output = Vec::new();
    let run = tokio::time::timeout(timeout, collect(&client, &exec, &mut output)).await;
    let output = String::from_utf8_lossy(&output).trim().to_owned();
    Ok(match run {
        Ok(Ok(exit_code)) => HealthcheckResult {
            healthy: exit_code == 0,
            exit_code,
            output,
        },
        // The command is not in the image, or the container stopped meanwhile.
        Ok(Err(error)) => unhealthy(super::client::reason(&error)),
        Err(_) => {
            kill(&client, &id.0, &exec).await;
            unhealthy(format!(
                "no result after {} ms; {output}",
                timeout.as_millis()
            ))
        }
    })
}

fn unhealthy(output: String) -> HealthcheckResult {
    HealthcheckResult {
        healthy: false,
        exit_code: -1,
        output,
    }
}

/// `["NONE"]` and nothing: no check. `["CMD", …]`: that. `["CMD-SHELL", text]`: by the image's shell.
fn command(container: &ContainerInspectResponse) -> Option<Vec<String>> {
    let config = container.config.as_ref()?;
    let test = config.healthcheck.as_ref()?.test.as_ref()?;
    match test.split_first()? {
        (kind, rest) if kind == "CMD" && !rest.is_empty() => Some(rest.to_vec()),
        (kind, rest) if kind == "CMD-SHELL" && !rest.is_empty() => {
            let shell = config.shell.clone().filter(|shell| !shell.is_empty());
            let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
            let mut command = shell.unwrap_or_else(default);
            command.extend(rest.iter().cloned());
            Some(command)
        }
        _ => None,
    }
}

/// Runs it to its end and returns the exit code.
async fn collect(client: &Client, exec: &str, output: &mut Vec<u8>) -> Result<i64, Error> {
    let started = within(CALL_TIMEOUT, client.docker.start_exec(exec, None)).await?;
    if let StartExecResults::Attached {
        output: mut parts, ..
    } = started
    {
        while let Some(part) = parts.next().await {
            let part = part?;
            let room = OUTPUT_KEPT.saturating_sub(output.len());
            let bytes: &[u8] = part.as_ref();
            output.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
    // The stream may end a moment before the exit code is known.
    loop {
        let look = call(client.docker.inspect_exec(exec)).await?;
        if !look.running.unwrap_or(false) {
            return Ok(look.exit_code.unwrap_or(-1));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The API cannot end an exec; where its process is on this machine, the kernel can.
async fn kill(client: &Client, id: &str, exec: &str) {
    if !client.local {
        return;
    }
    let Ok(look) = call(client.docker.inspect_exec(exec)).await else {
        return;
    };
    let running = look.running == Some(true);
    let pid = look.pid.filter(|pid| running && inspect::is_of(*pid, id));
    if let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        // Without the right to do so it ends by itself, or with its container.
        let _ = kill_process(pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(test: serde_json::Value) -> Option<Vec<String>> {
        let config = json!({"Config": {"Healthcheck": {"Test": test}}});
        command(&serde_json::from_value(config).expect("a container"))
    }

    #[test]
    fn the_three_forms_of_a_test() {
        assert_eq!(of(json!(["NONE"])), None);
        assert_eq!(of(json!([])), None);
        assert_eq!(
            of(json!(["CMD", "/check", "-q"])).expect("a command"),
            ["/check", "-q"]
        );
        let shell = of(json!(["CMD-SHELL", "curl -f localhost || exit 1"])).expect("a command");
        assert_eq!(shell, ["/bin/sh", "-c", "curl -f localhost || exit 1"]);
    }

    #[test]
    fn the_images_own_shell_runs_a_shell_test() {
        let config = json!({"Config": {"Shell": ["/bin/ash", "-ec"],
            "Healthcheck": {"Test": ["CMD-SHELL", "true"]}}});
        let container = serde_json::from_value(config).expect("a container");
        assert_eq!(
            command(&container).expect("a command"),
            ["/bin/ash", "-ec", "true"]
        );
    }
}
