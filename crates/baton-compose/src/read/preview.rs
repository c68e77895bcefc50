//! The preview: how the files read for it, and which services are in it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::service::merge_policies;
use crate::color::{Color, Role};
use crate::coloring::Told;
use crate::error::{Collector, Problem};
use crate::policy::Policy;
use crate::project::{Notice, Project, Service};
use crate::rendering::Rendering;

/// Takes over what `x-baton` says with `BATON_ROLE=preview`. Only what one color has for itself may
/// differ from what it says of the live color.
pub(super) fn join(
    live: &mut BTreeMap<String, Policy>,
    blue: &BTreeMap<String, Policy>,
    green: &BTreeMap<String, Policy>,
    problems: &mut Collector,
) {
    let mut previews = merge_policies(blue.clone(), green, problems);
    for (name, policy) in live
        .iter_mut()
        .filter(|(_, policy)| policy.preview.is_some())
    {
        let Some(preview) = previews.remove(name) else {
            continue;
        };
        let mut same = preview.clone();
        same.color_environment.clone_from(&policy.color_environment);
        same.redis.clone_from(&policy.redis);
        if let (Some(same), Some(policy)) = (&mut same.preview, &policy.preview) {
            same.environment.clone_from(&policy.environment);
        }
        if same != *policy {
            problems.push(
                Problem::new(
                    format!("services.{name}.x-baton"),
                    "says one thing for the live color and another for a preview",
                )
                .help("only `preview.environment`, `colors` and `redis` may differ: take ${BATON_ROLE} out of the other keys"),
            );
        }
        let redis = preview
            .redis
            .filter(|redis| policy.redis.as_ref() != Some(redis));
        policy.preview = preview.preview.map(|mut own| {
            own.redis = redis;
            own
        });
    }
}

/// Where there is a preview, the plan says which services are not in it, and why.
pub(super) fn notice_absent(policies: &BTreeMap<String, Policy>, told: &mut Told) {
    if policies.values().all(|policy| policy.preview.is_none()) {
        return;
    }
    for (name, policy) in policies
        .iter()
        .filter(|(_, policy)| policy.preview.is_none())
    {
        let text = match policy.worker {
            Some(_) => {
                "is not started in a preview: a worker of a test server would take live messages; `preview: { environment: … }` starts it there with its own"
            }
            None => {
                "is not started in a preview, since it has none of its own: what calls it there reaches the live one"
            }
        };
        told.notice(format!("services.{name}"), text);
    }
}

/// Volumes and folders that a preview can write into and that live services have as well. No
/// `environment` parts them.
pub(super) fn shared_mounts(project: &Project) -> Vec<Notice> {
    let live: Vec<String> = project
        .started(Role::Live)
        .flat_map(|service| writable_mounts(project, Role::Live, service))
        .collect();
    let mut notices = Vec::new();
    for service in project.started(Role::Preview) {
        if service.policy.preview.as_ref().is_some_and(|own| own.share) {
            continue;
        }
        for mount in writable_mounts(project, Role::Preview, service) {
            if live.contains(&mount) {
                notices.push(Notice {
                    key: format!("services.{}.volumes", service.name),
                    text: format!(
                        "a preview writes into {mount}, which is the live color's too: put ${{BATON_ROLE}} into it, or make it read-only"
                    ),
                });
            }
        }
    }
    notices
}

/// Names of volumes and paths of folders, as the engine knows them.
fn writable_mounts(project: &Project, role: Role, service: &Service) -> Vec<String> {
    let model = project
        .renderings
        .iter()
        .find_map(|(color, of, rendering)| match rendering {
            Rendering::Docker(model) if (*color, *of) == (Color::Blue, role) => Some(model),
            _ => None,
        });
    let Some(model) = model else {
        return Vec::new();
    };
    let colored = model.services.iter().find(|one| one.name == service.name);
    let definition = colored.map(|one| &model.model["services"][&one.colored_name]["volumes"]);
    let mounts = definition.and_then(Value::as_array).into_iter().flatten();
    mounts
        .filter(|mount| mount["read_only"] != true)
        .filter_map(|mount| {
            let source = mount["source"]
                .as_str()
                .filter(|source| !source.is_empty())?;
            match mount["type"].as_str()? {
                "volume" => Some(model.model["volumes"][source]["name"].as_str()?.to_owned()),
                "bind" => Some(source.to_owned()),
                _ => None,
            }
        })
        .collect()
}
