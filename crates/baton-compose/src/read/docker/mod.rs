//! The docker engine's reader: `docker compose config`, once per color and role.

mod policies;

use std::collections::BTreeMap;

use serde_json::Value;

use super::ReadOptions;
use policies::user_services;

use super::app::check_preview_hosts;
use super::preview;
use crate::color::{AppName, Color, Role};
use crate::coloring::{Coloring, Told};
use crate::compose::{Compose, app_of};
use crate::error::{ComposeError, Problem};
use crate::files::Located;
use crate::policy::Policy;
use crate::project::{Awaited, EngineKind, Image, PlainService, Project, Service};
use crate::rendering::{ComposeModel, Rendering};

pub(super) async fn read(
    options: &ReadOptions,
    located: &Located,
) -> Result<Project, ComposeError> {
    let compose = Compose::new(options, located);
    compose.check_version().await?;
    let (blue, green, hashes) = tokio::try_join!(
        compose.config(Color::Blue, Role::Live),
        compose.config(Color::Green, Role::Live),
        compose.hashes(),
    )?;
    let mut told = Told::default();
    for warning in &blue.warnings {
        told.notice("", format!("docker compose: {warning}"));
    }
    let app = app_of(&blue.model)?;
    let place = |key: &str| located.place(key);
    let Some(mut policies) =
        policies::live(options, located, [&blue.model, &green.model], &mut told)
    else {
        told.problems.finish(place)?;
        return Err(no_x_baton(located, &blue.model));
    };
    let mut previews = Vec::new();
    if policies.values().any(|policy| policy.preview.is_some()) {
        let (blue, green) = tokio::try_join!(
            compose.config(Color::Blue, Role::Preview),
            compose.config(Color::Green, Role::Preview),
        )?;
        let own = [&blue.model, &green.model]
            .map(|model| policies::preview(&policies, located, model, &mut told));
        preview::join(&mut policies, &own[0], &own[1], &mut told.problems);
        previews.extend([blue.model, green.model].into_iter().zip(own));
    }
    check_preview_hosts(&policies, &policies::hosts(&blue.model), &mut told.problems);
    preview::notice_absent(&policies, &mut told);
    let images = images(options, &app, &blue.model, &policies, &mut told);
    let live = [&blue, &green].map(|config| (&config.model, &policies));
    let colors = [
        (Role::Live, live.to_vec()),
        (
            Role::Preview,
            previews.iter().map(|(model, own)| (model, own)).collect(),
        ),
    ];
    let mut renderings = Vec::new();
    for (role, colors) in colors {
        for (color, (model, policies)) in Color::BOTH.into_iter().zip(colors) {
            let coloring = Coloring {
                app: &app,
                color,
                role,
                model,
                policies,
                images: &images,
                directory: &located.directory,
            };
            renderings.push((color, role, coloring.color(&mut told)));
        }
    }
    add_secrets(&compose, &mut renderings, &mut told).await?;
    told.problems.finish(place)?;
    Ok(Project {
        engine: EngineKind::Docker,
        directory: located.directory.clone(),
        files: located
            .files
            .iter()
            .map(|file| file.shown.clone())
            .collect(),
        services: services(&blue.model, policies, images, &renderings),
        plain: plain(&blue.model, &hashes),
        renderings: renderings
            .into_iter()
            .map(|(color, role, model)| (color, role, Rendering::Docker(model)))
            .collect(),
        notices: told.notices,
        origin: None,
        app,
    })
}

/// What each chosen service runs, `--image` applied.
fn images(
    options: &ReadOptions,
    app: &AppName,
    model: &Value,
    policies: &BTreeMap<String, Policy>,
    told: &mut Told,
) -> BTreeMap<String, Image> {
    let mut images: BTreeMap<String, Image> = policies
        .keys()
        .map(|name| {
            let service = &model["services"][name];
            let text = |key: &str| service[key].as_str().map(|text| text.replace("$$", "$"));
            let image = Image {
                reference: text("image").unwrap_or_else(|| format!("{app}-{name}")),
                build: service.get("build").is_some_and(|build| !build.is_null()),
                pull_policy: text("pull_policy"),
            };
            (name.clone(), image)
        })
        .collect();
    let Some(given) = &options.image_override else {
        return images;
    };
    let (service, reference) = match given.split_once('=') {
        Some((service, reference)) => (Some(service.to_owned()), reference),
        None if images.len() == 1 => (images.keys().next().cloned(), given.as_str()),
        None => (None, given.as_str()),
    };
    match service.as_ref().and_then(|service| images.get_mut(service)) {
        Some(image) => {
            *image = Image {
                reference: reference.to_owned(),
                build: false,
                pull_policy: None,
            };
        }
        None => {
            let names: Vec<&str> = policies.keys().map(String::as_str).collect();
            told.problems.push(
                Problem::new("", format!("--image {given}: which service is meant?")).help(
                    format!(
                        "write --image SERVICE=REF with one of: {}",
                        names.join(", ")
                    ),
                ),
            );
        }
    }
    images
}

fn services(
    model: &Value,
    policies: BTreeMap<String, Policy>,
    mut images: BTreeMap<String, Image>,
    renderings: &[(Color, Role, ComposeModel)],
) -> Vec<Service> {
    let colored = renderings
        .first()
        .map(|(_, _, model)| model.services.as_slice());
    let replicas = |name: &str| {
        let service = colored
            .into_iter()
            .flatten()
            .find(|service| service.name == name);
        service.map_or(1, |service| service.replicas)
    };
    policies
        .into_iter()
        .map(|(name, policy)| Service {
            has_compose_healthcheck: has_healthcheck(&model["services"][&name]["healthcheck"]),
            image: images.remove(&name),
            replicas: replicas(&name),
            policy,
            name,
        })
        .collect()
}

/// `disable: true` and `test: NONE` switch off what an image brings along.
fn has_healthcheck(healthcheck: &Value) -> bool {
    let none = match &healthcheck["test"] {
        Value::Array(words) => words.first().is_none_or(|word| word == "NONE"),
        Value::String(word) => word == "NONE",
        _ => true,
    };
    !none && healthcheck["disable"] != true
}

/// Services without `x-baton`, each after those that it depends on.
fn plain(model: &Value, hashes: &BTreeMap<String, String>) -> Vec<PlainService> {
    let mut waiting: Vec<PlainService> = Vec::new();
    for (name, service) in
        user_services(model).filter(|(_, service)| !service.contains_key("x-baton"))
    {
        let depends_on = service
            .get("depends_on")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|dependencies| dependencies.keys())
            .filter(|other| model["services"][*other].get("x-baton").is_none())
            .cloned()
            .collect();
        waiting.push(PlainService {
            name: name.clone(),
            config_hash: hashes.get(name).cloned(),
            depends_on,
            awaited: awaited(model, name),
        });
    }
    let mut ordered: Vec<PlainService> = Vec::new();
    // Compose has refused cycles, so each round places at least one.
    while let Some(at) = waiting.iter().position(|service| {
        let placed = |other: &String| ordered.iter().any(|done| done.name == *other);
        service.depends_on.iter().all(placed)
    }) {
        ordered.push(waiting.remove(at));
    }
    ordered.append(&mut waiting);
    ordered
}

/// The strongest condition that another service puts on `plain`.
fn awaited(model: &Value, plain: &str) -> Awaited {
    let conditions = user_services(model).filter_map(|(_, service)| {
        service
            .get("depends_on")?
            .get(plain)?
            .get("condition")?
            .as_str()
    });
    conditions
        .map(|condition| match condition {
            "service_healthy" => Awaited::Healthy,
            "service_completed_successfully" => Awaited::Completed,
            _ => Awaited::Started,
        })
        .max()
        .unwrap_or_default()
}

/// Values of secrets and configs with `environment:`: they stay unresolved in what Compose prints,
/// and `up` fails without them (Engines.md §1).
async fn add_secrets(
    compose: &Compose<'_>,
    renderings: &mut [(Color, Role, ComposeModel)],
    told: &mut Told,
) -> Result<(), ComposeError> {
    let needed = renderings
        .iter()
        .any(|(_, _, model)| !Coloring::variables(&model.model).is_empty());
    if !needed {
        return Ok(());
    }
    let values = compose.environment().await?;
    for (_, _, rendering) in renderings {
        for (key, name) in Coloring::variables(&rendering.model) {
            match values.get(&name) {
                Some(value) => {
                    rendering.environment.insert(name, value.clone());
                }
                None => told.problems.push(
                    Problem::new(key, format!("the variable {name} has no value"))
                        .help(format!("set {name} in the environment or in .env")),
                ),
            }
        }
    }
    Ok(())
}

/// No service of the model has `x-baton`; one that a profile hides may.
fn no_x_baton(located: &Located, model: &Value) -> ComposeError {
    let hidden = located.services().find(|(name, service)| {
        service.get("x-baton").is_some() && model["services"].get(name.as_str()).is_none()
    });
    let problem = match hidden {
        Some((name, service)) => {
            let profile = service["profiles"][0].as_str().unwrap_or("NAME");
            Problem::new(
                format!("services.{name}"),
                "has x-baton, and its profile is not chosen",
            )
            .help(format!("add --profile {profile}, or set COMPOSE_PROFILES"))
        }
        None => Problem::new(
            "services",
            "no service has x-baton, so there is nothing to deploy",
        )
        .help("add it to the service that takes traffic: x-baton: { hosts: [api.example.com] }"),
    };
    problem.in_file(&located.first()).into()
}
