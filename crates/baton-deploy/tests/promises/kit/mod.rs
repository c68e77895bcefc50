//! An engine and a router in memory, scripted by the tests, and a world that outlives control planes
//! as containers outlive a daemon.
#![allow(dead_code, unused_imports, reason = "each test uses its part")]

mod engine;
mod freeze;
mod router;
mod world;

use std::time::Duration;

use baton_compose::policy::{Drain, Worker};
use baton_compose::project::{FetchedImage, FetchedImages, Image};
use baton_compose::rendering::{ColoredService, ComposeModel};
use baton_compose::{AppName, Color, EngineKind, Policy, Project, Rendering, Role, Service};

pub(crate) use engine::FakeEngine;
pub(crate) use freeze::{Freezer, When};
pub(crate) use router::FakeRouter;
pub(crate) use world::{World, app, drained, next, result, started, started_any, until};

/// One service `api` on `<app>.example.com`, healthy by its Compose healthcheck, with a quick drain.
pub(crate) fn project(app: &str) -> Project {
    project_of(app, vec![api(app)])
}

/// The same with a worker whose old one is stopped first.
pub(crate) fn project_with_worker(app: &str) -> Project {
    let mut worker = api(app);
    worker.name = "jobs".to_owned();
    worker.policy.hosts.clear();
    worker.policy.worker = Some(Worker::StopFirst);
    project_of(app, vec![api(app), worker])
}

pub(crate) fn api(app: &str) -> Service {
    Service {
        name: "api".to_owned(),
        policy: Policy {
            hosts: vec![format!("{app}.example.com")],
            port: Some(8080),
            keep_warm: Duration::ZERO,
            watch: Duration::ZERO,
            startup_timeout: Duration::from_secs(20),
            drain: Drain {
                requests: Duration::from_millis(300),
                connections: Duration::from_secs(2),
                websockets: Duration::from_millis(100),
                ..Drain::default()
            },
            ..Policy::default()
        },
        image: Some(Image {
            reference: "shop/api:latest".to_owned(),
            build: false,
            pull_policy: None,
        }),
        replicas: 1,
        has_compose_healthcheck: true,
    }
}

pub(crate) fn project_of(app: &str, services: Vec<Service>) -> Project {
    let name: AppName = app.parse().expect("a valid name");
    let mut renderings = Vec::new();
    for color in Color::BOTH {
        renderings.push((color, Role::Live, rendering(&name, color, &services)));
        if services
            .iter()
            .any(|service| service.policy.preview.is_some())
        {
            renderings.push((color, Role::Preview, rendering(&name, color, &services)));
        }
    }
    Project {
        app: name,
        engine: EngineKind::Docker,
        directory: "/srv/shop".into(),
        files: vec!["/srv/shop/compose.yaml".into()],
        services,
        plain: Vec::new(),
        renderings,
        notices: Vec::new(),
        origin: None,
    }
}

fn rendering(app: &AppName, color: Color, services: &[Service]) -> Rendering {
    let mut model = serde_json::json!({ "services": {} });
    let mut colored = Vec::new();
    for service in services {
        let colored_name = format!("{}-{color}", service.name);
        model["services"][&colored_name] = serde_json::json!({
            "image": "shop/api:latest",
            "environment": { "BATON_RELEASE": baton_compose::rendering::RELEASE_PLACEHOLDER },
        });
        colored.push(ColoredService {
            name: service.name.clone(),
            colored_name,
            port: service.policy.port,
            replicas: service.replicas,
            stop_signal: None,
            stop_grace_period: Duration::from_secs(1),
            restart: "no".to_owned(),
            live_aliases: vec![service.name.clone()],
        });
    }
    Rendering::Docker(ComposeModel {
        project: app.color_project(color),
        model,
        services: colored,
        networks: Default::default(),
        volumes: Default::default(),
        live_network: format!("{app}_live"),
        environment: Default::default(),
        directory: "/srv/shop".into(),
    })
}

/// What a command line hands in: every service of the project at image `tag`.
pub(crate) fn images(project: &Project, tag: &str) -> FetchedImages {
    project
        .services
        .iter()
        .map(|service| {
            let image = FetchedImage {
                id: format!("sha256:{tag}"),
                reference: format!("shop/{}:{tag}", service.name),
                repo_digest: None,
            };
            (service.name.clone(), image)
        })
        .collect()
}

/// One `api`, with a policy of the test's own.
pub(crate) fn project_with(app: &str, policy: impl FnOnce(&mut Service)) -> Project {
    let mut service = api(app);
    policy(&mut service);
    project_of(app, vec![service])
}
