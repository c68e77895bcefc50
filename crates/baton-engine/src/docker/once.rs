//! A command in a release's image, beside its instances (see [`crate::Engine::run_once`]).
//!
//! `docker compose run` in a project of its own, so that whatever the file says of the service holds
//! here too, secrets and configs included. The label `baton.once` keeps the container from being taken
//! for an instance: `labels::slot` knows no slot of it.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::rendering::{ColoredService, ComposeModel};
use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::KillContainerOptions;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use crate::docker::cli::{Output, Run, scrubbed_environment};
use crate::docker::client::{call, failed, is_gone, status};
use crate::docker::compose_up::{self, Place};
use crate::docker::{
    Inner, compose_model, containers, images, inspect, labels, live_network, oom, shared, shield,
};
use crate::once::Said;
use crate::oom_score;
use crate::procfs::{self, ProcFolder};
use crate::{EngineError, Exit, InstanceState, Once, OnceResult, Replicas, Shield, Slot, Start};

/// How often a container is looked at whose end nobody tells.
const LOOK: Duration = Duration::from_millis(200);
/// SIGKILL, the kernel's way to take memory back.
const KILLED: i32 = 137;
/// How long a container may take to go once it was killed.
const KILL: Duration = Duration::from_secs(10);

/// See [`crate::Engine::run_once`].
pub(super) async fn run_once(
    inner: &Arc<Inner>,
    once: Once<'_>,
    line: &(dyn Fn(String) + Send + Sync),
) -> Result<OnceResult, EngineError> {
    let deadline = Instant::now() + once.timeout;
    let refuse = |reason: &str| EngineError::Start {
        what: once.title(),
        reason: reason.to_owned(),
    };
    let model = compose_model(once.rendering)?;
    let service = model.services.iter().find(|s| s.name == once.service);
    let service = service.ok_or_else(|| refuse("its rendering has no such service"))?;
    if once.command.is_empty() {
        return Err(refuse("its command is empty"));
    }
    let client = inner.client().await?;
    clear_once(inner, once.slot).await?;
    images::require(&client.docker, model, service).await?;
    {
        let _guard = inner.networks.lock().await;
        shared::ensure(&client.docker, model).await?;
        live_network::ensure(&client.docker, &model.live_network, &once.slot.app).await?;
    }
    // Beside the live color, like a candidate. Whatever is in the slot already keeps its shield.
    if containers::of_slot(&client.docker, once.slot)
        .await?
        .is_empty()
    {
        inner.shields.remember(once.slot, Shield::Candidate);
    }
    shield::prepare(inner, &client, once.slot);
    let mut said = Said::new(line);
    let input = prepare(
        &once,
        model,
        service,
        &Place::unpublished(&client, once.slot),
    );
    let mut tell = |text: &str| said.line(text);
    let running = compose_run(inner, &once, model, service, input).run(&mut tell);
    // `docker compose run` may also end before its container does: when the engine is restarted.
    let ended = timeout_at(deadline, async {
        let output = running.await?;
        until_ended(&client.docker, &once, &output).await
    })
    .await;
    let result = match ended {
        Ok(Ok(exit)) => Ok(said.result(exit, false)),
        Ok(Err(error)) => Err(error),
        Err(_) => kill(&client.docker, once.slot)
            .await
            .map(|exit| said.result(exit, true)),
    };
    let removed = remove(&client.docker, once.slot).await;
    let result = result?;
    removed.map(|()| result)
}

/// See [`crate::Engine::clear_once`].
pub(super) async fn clear_once(inner: &Arc<Inner>, slot: &Slot) -> Result<(), EngineError> {
    end_compose(&project(slot));
    let client = inner.client().await?;
    remove(&client.docker, slot).await?;
    if containers::of_slot(&client.docker, slot).await?.is_empty() {
        shield::forget(inner, &client, slot);
    }
    Ok(())
}

/// Not the color's own project: nobody who looks there shall find it.
fn project(slot: &Slot) -> String {
    format!("{}-once", slot.app.color_project(slot.color))
}

/// Compose's command line of a daemon that was killed: it could still be about to start something.
fn end_compose(project: &str) {
    let of_project = |process: &ProcFolder| {
        let line = process.read("cmdline").unwrap_or_default();
        let words: Vec<&str> = line.split('\0').collect();
        let has = |wanted: &[&str]| words.windows(wanted.len()).any(|seen| seen == wanted);
        has(&["compose", "-p", project]) && has(&["run"])
    };
    procfs::kill_all(of_project);
}

async fn of_slot(
    docker: &Docker,
    slot: &Slot,
) -> Result<Vec<ContainerInspectResponse>, EngineError> {
    let wanted = [
        format!("{}={}", labels::APP, slot.app),
        format!("{}={}", labels::COLOR, slot.color),
        labels::ONCE.to_owned(),
    ];
    containers::labelled(docker, &wanted, true).await
}

async fn remove(docker: &Docker, slot: &Slot) -> Result<(), EngineError> {
    for container in of_slot(docker, slot).await? {
        containers::remove(docker, container.id.as_deref().unwrap_or_default()).await?;
    }
    Ok(())
}

fn compose_run(
    inner: &Inner,
    once: &Once<'_>,
    model: &ComposeModel,
    service: &ColoredService,
    input: Value,
) -> Run<'static> {
    let project = project(once.slot);
    let mut args = compose_up::arguments(model, &project, "quiet");
    args.extend(["run", "--no-deps", "-T", "--interactive=false"].map(Into::into));
    args.push(service_name(service).into());
    Run {
        action: "docker compose run",
        args,
        environment: Some(scrubbed_environment(&inner.host, &model.environment)),
        directory: Some(compose_up::directory(model)),
        input: Some(input.to_string().into_bytes()),
        // The caller's is shorter, and ends the container too.
        timeout: once.timeout + KILL,
    }
}

/// `api-blue-once`; Compose makes a network alias of it.
fn service_name(service: &ColoredService) -> String {
    format!("{}-once", service.colored_name)
}

/// The service as it will be started, with this command, and nothing by which others would find it.
fn prepare(
    once: &Once<'_>,
    model: &ComposeModel,
    service: &ColoredService,
    place: &Place,
) -> Value {
    let start = Start {
        slot: once.slot,
        release: once.release,
        role: once.role,
        rendering: once.rendering,
        services: &[],
        replicas: Replicas::All,
        shielded: true,
    };
    let mut prepared = compose_up::prepare(&start, model, place);
    let networks = shared_networks(&prepared);
    let definition = &mut prepared["services"][&service.colored_name];
    let mut definition = definition.take();
    if let Value::Object(definition) = &mut definition {
        for key in [
            "depends_on",
            "command",
            "hostname",
            "ports",
            "tty",
            "stdin_open",
            "scale",
        ] {
            definition.remove(key);
        }
        if let Some(Value::Object(deploy)) = definition.get_mut("deploy") {
            deploy.remove("replicas");
        }
        // `$` would be interpolated by Compose.
        let command = once.command.iter().map(|word| word.replace('$', "$$"));
        definition.insert("entrypoint".to_owned(), command.collect());
        definition.insert("healthcheck".to_owned(), json!({"disable": true}));
        definition.insert("labels".to_owned(), once_labels(definition.get("labels")));
        let score = definition.get("oom_score_adj").and_then(Value::as_i64);
        let score = score.unwrap_or(0).max(oom_score::HIGH.into());
        definition.insert("oom_score_adj".to_owned(), json!(score));
        if let Some(Value::Object(joined)) = definition.get_mut("networks") {
            joined.retain(|key, _| networks.contains_key(key));
        }
    }
    prepared["name"] = json!(project(once.slot));
    prepared["networks"] = Value::Object(networks);
    prepared["services"] = json!({ service_name(service): definition });
    prepared
}

/// Without the color's private network, which Compose would have to make for this project.
fn shared_networks(model: &Value) -> Map<String, Value> {
    let networks = model["networks"].as_object().into_iter().flatten();
    networks
        .filter(|(_, network)| network["external"] == true)
        .map(|(key, network)| (key.clone(), network.clone()))
        .collect()
}

fn once_labels(labels: Option<&Value>) -> Value {
    let mut labels = labels.cloned().unwrap_or_else(|| json!({}));
    labels[labels::ONCE] = json!("true");
    labels
}

/// How it ended, also when nobody told. `output` is Compose's: without a container it says why.
async fn until_ended(
    docker: &Docker,
    once: &Once<'_>,
    output: &Output,
) -> Result<Exit, EngineError> {
    let mut unseen = 0;
    loop {
        match of_slot(docker, once.slot).await {
            Ok(found) => match found.first().map(|one| inspect::instance(one, false).state) {
                Some(InstanceState::Exited(exit)) => return settled(docker, once.slot, exit).await,
                Some(InstanceState::Running) => {}
                Some(InstanceState::Created) | None => {
                    return Err(EngineError::Start {
                        what: once.title(),
                        reason: output.complaint(),
                    });
                }
            },
            // An engine that is being restarted.
            Err(error) if unseen > 100 => return Err(error),
            Err(_) => unseen += 1,
        }
        sleep(LOOK).await;
    }
}

/// The engine's word about memory may come after the end (Engines.md §2).
async fn settled(docker: &Docker, slot: &Slot, exit: Exit) -> Result<Exit, EngineError> {
    let until = Instant::now() + oom::WITHIN;
    let mut exit = exit;
    while exit.code == Some(KILLED) && !exit.oom_killed && Instant::now() < until {
        sleep(LOOK).await;
        if let Some(container) = of_slot(docker, slot).await?.first()
            && let InstanceState::Exited(now) = inspect::instance(container, false).state
        {
            exit = now;
        }
    }
    Ok(exit)
}

/// Its time is over. Compose's command line has been killed before.
async fn kill(docker: &Docker, slot: &Slot) -> Result<Exit, EngineError> {
    let until = Instant::now() + KILL;
    let mut last = Exit {
        code: None,
        oom_killed: false,
        error: Some("it was never started".to_owned()),
    };
    while Instant::now() < until {
        let found = of_slot(docker, slot).await?;
        let Some(container) = found.first() else {
            break;
        };
        match inspect::instance(container, false).state {
            InstanceState::Exited(exit) => return Ok(exit),
            InstanceState::Created => break,
            InstanceState::Running => {}
        }
        let id = container.id.as_deref().unwrap_or_default();
        match call(docker.kill_container(id, None::<KillContainerOptions>)).await {
            // 409: it has just ended.
            Err(error) if !is_gone(&error) && status(&error) != Some(409) => {
                return Err(failed(format!("killing the command in {slot}"))(error));
            }
            _ => {}
        }
        last = Exit {
            code: Some(KILLED),
            oom_killed: false,
            error: None,
        };
        sleep(LOOK / 4).await;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use baton_compose::rendering::Rendering;
    use baton_compose::{Color, Role};

    use super::*;

    #[test]
    fn it_is_the_service_without_what_others_would_find_it_by() {
        let service: ColoredService = serde_json::from_value(json!({
            "name": "api", "colored_name": "api-blue", "port": 8080, "replicas": 3,
            "stop_signal": null, "stop_grace_period": {"secs": 10, "nanos": 0}, "restart": "always",
        }))
        .expect("a service");
        let model = ComposeModel {
            project: "shop-blue".to_owned(),
            model: json!({
                "networks": {"shop": {"name": "shop_shop", "external": true},
                    "baton-color": {"name": "shop-blue_color"}},
                "services": {"api-blue": {"image": "sha256:1", "command": ["serve"], "user": "7",
                    "hostname": "api-blue", "depends_on": {"job-blue": {}}, "scale": 3,
                    "deploy": {"replicas": 3, "resources": {"limits": {"memory": "64M"}}},
                    "networks": {"shop": null, "baton-color": {"aliases": ["api"]}}},
                    "job-blue": {}}}),
            services: vec![service.clone()],
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            live_network: "shop_live".to_owned(),
            environment: BTreeMap::new(),
            directory: "/".into(),
        };
        let rendering = Rendering::Docker(model.clone());
        let slot = Slot {
            app: "shop".parse().expect("a name"),
            color: Color::Blue,
        };
        let command = ["./migrate".to_owned(), "$x".to_owned()];
        let once = Once {
            slot: &slot,
            release: 7,
            role: Role::Live,
            rendering: &rendering,
            service: "api",
            command: &command,
            timeout: Duration::from_secs(1),
        };
        let prepared = prepare(&once, &model, &service, &Place::default());
        assert_eq!(prepared["name"], "shop-blue-once");
        let services = prepared["services"].as_object().expect("services");
        assert_eq!(services.keys().collect::<Vec<_>>(), ["api-blue-once"]);
        let api = &prepared["services"]["api-blue-once"];
        assert_eq!(api["entrypoint"], json!(["./migrate", "$$x"]));
        assert_eq!(api["networks"], json!({"shop": null}));
        assert_eq!(api["user"], "7");
        assert_eq!(
            api["deploy"],
            json!({"resources": {"limits": {"memory": "64M"}}})
        );
        assert_eq!(api["labels"]["baton.release"], "r7");
        assert_eq!(api["oom_score_adj"], 500);
        for key in ["command", "hostname", "depends_on", "scale"] {
            assert_eq!(api.get(key), None, "{key}");
        }
        let labels = api["labels"].as_object().expect("labels").iter();
        let labels = labels
            .map(|(key, value)| (key.clone(), value.to_string()))
            .collect();
        assert_eq!(labels::slot::<std::hash::RandomState>(&labels), None);
    }
}
