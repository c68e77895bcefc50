//! A compose file as teams have it is colored, every change is told, and Compose accepts the result.
#![allow(clippy::unwrap_used)]

mod support;

use baton_compose::policy::{Protocol, Tls, Worker};
use baton_compose::project::{Awaited, FetchedImage};
use baton_compose::rendering::{RELEASE_PLACEHOLDER, Rendering};
use baton_compose::{Color, EngineKind};
use serde_json::{Value, json};
use std::time::Duration;
use support::{Folder, compose_model, config_again};

const RICH: &str = r#"
name: shop
include: [deps.yaml]
x-common: &common
  logging: { driver: json-file, options: { max-size: 1m } }
services:
  api:
    <<: *common
    extends: { file: base.yaml, service: base }
    image: registry.example/shop/api:${TAG:-latest}
    container_name: shop-api
    hostname: api-host
    restart: unless-stopped
    ports: ["8080:8080", "127.0.0.1:9125:9125/udp"]
    env_file: [api.env]
    profiles: [web]
    command: ["serve", "--price", "$$5"]
    environment:
      STREAM: orders-${BATON_COLOR:-none}
      RELEASE: ${BATON_RELEASE:-none}
      PASSWORD: a$$b
    depends_on:
      redis: { condition: service_healthy, restart: true }
      migrate: { condition: service_completed_successfully }
      jobs: { condition: service_started }
    volumes:
      - data:/data
      - /cache
      - ./conf:/etc/conf:ro
      - { type: tmpfs, target: /scratch }
    secrets: [token, { source: cert, target: cert.pem }]
    configs: [motd]
    networks:
      shop: { aliases: [web, shop-web] }
      edge: {}
    healthcheck: { test: ["CMD", "/app", "healthcheck"], interval: 3s }
    stop_grace_period: 1m30s
    stop_signal: SIGINT
    x-baton:
      hosts: [API.example.com, "*.shop.example.com"]
      health: { path: /healthz, headers: { X-Price: "$$5" }, expect: [200, 301-302] }
      warmup: ["GET / x20", "GET /a?b=c"]
      drain: { requests: 10s }
      tls: { cert: cert.pem, key: ./key.pem }
      colors: { green: { environment: { ONLY_GREEN: "g$$1-${BATON_COLOR}" } } }
  jobs:
    build: ./jobs
    deploy: { replicas: 2, restart_policy: { condition: on-failure, max_attempts: 3 } }
    x-baton: { worker: overlap }
volumes: { data: {} }
networks: { shop: { driver: bridge, labels: { team: a } }, edge: { external: true, name: edge-net } }
secrets: { token: { environment: API_TOKEN }, cert: { file: ./cert.pem } }
configs: { motd: { content: "costs $$5 at ${TAG:-latest}" } }
"#;

fn rich() -> Folder {
    Folder::new(&[
        ("compose.yaml", RICH),
        ("compose.override.yaml", "services: { api: { labels: { team: shop } } }"),
        ("deps.yaml", "services: { redis: { image: 'redis:7', healthcheck: { test: [CMD, redis-cli, ping] } }, migrate: { image: 'migrate:1', depends_on: [redis] } }"),
        ("base.yaml", "services: { base: { ulimits: { nofile: 4096 }, mem_limit: 256m } }"),
        ("api.env", "FROM_FILE=yes\n"),
        (".env", "API_TOKEN=t0p secret$1\nTAG=1.4\nCOMPOSE_PROFILES=web\n"),
        ("cert.pem", "x"),
        ("key.pem", "x"),
        ("conf/a", ""),
        ("jobs/Dockerfile", "FROM scratch"),
    ])
    .set("BATON_COLOR", "purple")
}

#[test]
fn both_colors_are_rendered_and_compose_accepts_them() {
    let folder = rich();
    let project = folder.read().unwrap();
    assert_eq!(project.app.as_str(), "shop");
    assert_eq!(project.engine, EngineKind::Docker);
    assert_eq!(project.renderings.len(), 2);
    for color in Color::BOTH {
        let model = compose_model(&project, color);
        assert_eq!(model.project, format!("shop-{color}"));
        let printed = config_again(model, &["config"]).unwrap();
        assert!(printed.contains(&format!("api-{color}:")), "{printed}");
        // Nothing of the user's environment is asked for again.
        config_again(model, &["config", "--quiet"]).unwrap();
    }
    let green = compose_model(&project, Color::Green);
    let mut text = serde_json::to_string_pretty(&green.model).unwrap();
    text = folder.shown(&text);
    insta::assert_snapshot!("green_model", text);
}

#[test]
fn what_an_engine_needs_stands_beside_the_model() {
    let project = rich().read().unwrap();
    let blue = compose_model(&project, Color::Blue);
    let api = blue.services.iter().find(|s| s.name == "api").unwrap();
    assert_eq!(api.colored_name, "api-blue");
    // 9125 is UDP, so 8080 is the only port that traffic can go to.
    assert_eq!(api.port, Some(8080));
    assert_eq!(api.stop_grace_period, Duration::from_secs(90));
    assert_eq!(api.stop_signal.as_deref(), Some("SIGINT"));
    assert_eq!(api.restart, "unless-stopped");
    let mut aliases = api.live_aliases.clone();
    assert_eq!(aliases.remove(0), "api");
    aliases.sort();
    assert_eq!(aliases, ["api-host", "shop-api", "shop-web", "web"]);
    let jobs = blue.services.iter().find(|s| s.name == "jobs").unwrap();
    assert_eq!((jobs.replicas, jobs.port), (2, None));
    assert_eq!(jobs.restart, "on-failure:3");
    assert_eq!(blue.live_network, "shop_live");
    assert_eq!(blue.environment["API_TOKEN"], "t0p secret$1");

    let networks: Vec<_> = blue.networks.keys().collect();
    assert_eq!(networks, ["edge-net", "shop_default", "shop_shop"]);
    assert_eq!(blue.networks["edge-net"].project, None);
    let shop = &blue.networks["shop_shop"];
    assert_eq!(
        (shop.key.as_str(), shop.project.as_deref()),
        ("shop", Some("shop"))
    );
    assert_eq!(
        shop.definition,
        json!({"driver": "bridge", "labels": {"team": "a"}})
    );
    assert_eq!(blue.networks["shop_default"].key, "default");
    assert_eq!(blue.volumes["shop_data"].key, "data");
}

#[test]
fn values_are_passed_on_unchanged_and_read_unescaped() {
    let project = rich().read().unwrap();
    let api = project.services.iter().find(|s| s.name == "api").unwrap();
    let health = api.policy.health.as_ref().unwrap();
    assert_eq!(health.headers["X-Price"], "$5");
    assert_eq!(health.expect, [(200, 200), (301, 302)]);
    let environment = |color: Color| {
        let model = compose_model(&project, color);
        model.model["services"][format!("api-{color}")]["environment"].clone()
    };
    let (blue, green) = (environment(Color::Blue), environment(Color::Green));
    assert_eq!(blue["PASSWORD"], "a$$b");
    assert_eq!(blue["STREAM"], "orders-blue");
    assert_eq!(green["STREAM"], "orders-green");
    assert_eq!(blue["ONLY_GREEN"], Value::Null);
    assert_eq!(green["ONLY_GREEN"], "g$$1-green");
    assert_eq!(green["FROM_FILE"], "yes");
    assert_eq!(green["RELEASE"], RELEASE_PLACEHOLDER);
    assert_eq!(green["BATON_ROLE"], "live");
}

#[test]
fn the_policy_is_what_x_baton_says() {
    let folder = rich();
    let project = folder.read().unwrap();
    let api = project.services.iter().find(|s| s.name == "api").unwrap();
    assert_eq!(api.policy.hosts, ["api.example.com", "*.shop.example.com"]);
    assert_eq!(api.policy.protocol, Protocol::Http1);
    assert_eq!(api.policy.drain.requests, Duration::from_secs(10));
    assert_eq!(api.policy.keep_warm, Duration::from_secs(120));
    assert_eq!(
        api.policy.tls,
        Tls::Files {
            cert: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem")
        }
    );
    assert_eq!(api.policy.warmup[1].path, "/a?b=c");
    assert!(api.has_compose_healthcheck);
    let image = api.image.as_ref().unwrap();
    assert_eq!(
        (image.reference.as_str(), image.build),
        ("registry.example/shop/api:1.4", false)
    );

    let jobs = project.services.iter().find(|s| s.name == "jobs").unwrap();
    assert_eq!(jobs.policy.worker, Some(Worker::Overlap));
    assert!(!jobs.has_compose_healthcheck);
    let image = jobs.image.as_ref().unwrap();
    assert_eq!((image.reference.as_str(), image.build), ("shop-jobs", true));
    assert_eq!(jobs.replicas, 2);
}

#[test]
fn plain_services_come_in_the_order_they_start() {
    let project = rich().read().unwrap();
    let plain: Vec<_> = project
        .plain
        .iter()
        .map(|plain| (plain.name.as_str(), plain.awaited))
        .collect();
    assert_eq!(
        plain,
        [("redis", Awaited::Healthy), ("migrate", Awaited::Completed)]
    );
    assert_eq!(project.plain[1].depends_on, ["redis"]);
    assert_eq!(project.plain[0].config_hash.as_ref().unwrap().len(), 64);
}

#[test]
fn every_change_is_told() {
    let folder = rich();
    let project = folder.read().unwrap();
    let told: Vec<String> = project
        .notices
        .iter()
        .map(|notice| format!("{}: {}", notice.key, notice.text))
        .collect();
    insta::assert_snapshot!("notices", folder.shown(&told.join("\n")));
    // A notice never shows a value of the environment.
    let shown = format!("{:?}{:?}", project.notices, project.renderings);
    for secret in ["t0p secret", "a$$b", "g$$1", "FROM_FILE\": \"yes"] {
        assert!(!shown.contains(secret), "{secret} is shown in {shown}");
    }
}

#[test]
fn images_and_the_release_number_are_filled_in() {
    let project = rich().read().unwrap();
    let blue = compose_model(&project, Color::Blue);
    let id = format!("sha256:{}", "a".repeat(64));
    let image = FetchedImage {
        id: id.clone(),
        reference: "registry.example/shop/api:1.4".to_owned(),
        repo_digest: None,
    };
    let fetched = blue.with_images(&[("api".to_owned(), image)].into());
    let Rendering::Docker(filled) = Rendering::Docker(fetched).with_release(7) else {
        panic!("still a docker rendering")
    };
    let api = &filled.model["services"]["api-blue"];
    assert_eq!(api["image"], id.as_str());
    assert_eq!(api["pull_policy"], "never");
    assert_eq!(api["labels"]["baton.release"], "r7");
    assert_eq!(api["environment"]["BATON_RELEASE"], "r7");
    assert_eq!(api["environment"]["RELEASE"], "r7");
    assert!(!filled.model.to_string().contains(RELEASE_PLACEHOLDER));
    config_again(&filled, &["config", "--quiet"]).unwrap();
}

#[test]
fn a_masked_rendering_has_no_secret() {
    let project = rich().read().unwrap();
    let masked = Rendering::Docker(compose_model(&project, Color::Green).clone()).masked();
    let text = serde_json::to_string(&masked).unwrap();
    for secret in ["t0p secret", "a$$b", "g$$1", "costs"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    assert!(text.contains("\"BATON_COLOR\":\"green\""));
}

#[test]
fn a_project_survives_the_control_socket() {
    let project = rich().read().unwrap();
    let text = serde_json::to_string(&project).unwrap();
    let back: baton_compose::Project = serde_json::from_str(&text).unwrap();
    assert_eq!(back, project);
}

#[test]
fn compose_itself_still_reads_the_file() {
    let folder = rich();
    let output = std::process::Command::new("docker")
        .args(["compose", "config", "--quiet"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn several_files_a_project_name_and_an_image_from_the_command_line() {
    let mut folder = Folder::new(&[
        (
            "a.yaml",
            "services: { api: { image: 'x:1', ports: ['80'], x-baton: { hosts: ['*'] } } }",
        ),
        (
            "b.yaml",
            "services: { api: { image: 'x:2', x-baton: { keep_warm: 0s } } }",
        ),
    ]);
    folder.options.files = vec!["a.yaml".into(), "b.yaml".into()];
    folder.options.project_name = Some("other".to_owned());
    folder.options.image_override = Some("registry.example:5000/x@sha256:abc".to_owned());
    let project = folder.read().unwrap();
    assert_eq!(project.app.as_str(), "other");
    let api = &project.services[0];
    assert_eq!(api.policy.hosts, ["*"]);
    assert_eq!(api.policy.port, Some(80));
    assert_eq!(api.policy.keep_warm, Duration::ZERO);
    assert_eq!(
        api.image.as_ref().unwrap().reference,
        "registry.example:5000/x@sha256:abc"
    );
    assert_eq!(
        compose_model(&project, Color::Blue).model["services"]["api-blue"]["networks"],
        json!({"default": null})
    );
}

#[test]
fn an_image_from_the_command_line_may_name_its_service() {
    let mut folder = rich();
    folder.options.image_override = Some("jobs=registry.example/jobs:2".to_owned());
    let project = folder.read().unwrap();
    let jobs = project.services.iter().find(|s| s.name == "jobs").unwrap();
    let image = jobs.image.as_ref().unwrap();
    assert_eq!(
        (image.reference.as_str(), image.build),
        ("registry.example/jobs:2", false)
    );
    let model = &compose_model(&project, Color::Blue).model;
    assert_eq!(
        model["services"]["jobs-blue"]["image"],
        "registry.example/jobs:2"
    );
    folder.options.image_override = Some("registry.example/jobs:2".to_owned());
    assert_eq!(
        folder.error(),
        "--image registry.example/jobs:2: which service is meant?\n  write --image SERVICE=REF with one of: api, jobs"
    );
}

#[test]
fn only_the_chosen_services_are_colored() {
    let mut folder = rich();
    folder.options.services = vec!["api".to_owned()];
    let project = folder.read().unwrap();
    assert_eq!(project.services.len(), 1);
    let blue = compose_model(&project, Color::Blue);
    assert_eq!(blue.services.len(), 1);
    assert_eq!(blue.model["services"]["api-blue"].get("depends_on"), None);
    config_again(blue, &["config", "--quiet"]).unwrap();
}

/// Every other key of a service is handed back as it was.
const EXOTIC: &str = r#"
x-top: 1
services:
  api:
    image: x
    x-note: mine
    annotations: { a: b$$c }
    blkio_config: { weight: 300 }
    cap_add: [NET_ADMIN]
    deploy: { resources: { limits: { memory: 64M, cpus: "0.25" } }, labels: { a: b } }
    device_cgroup_rules: ["c 1:3 mr"]
    devices: ["/dev/null:/dev/zero2"]
    dns: 1.1.1.1
    entrypoint: /bin/api
    extra_hosts: ["host.docker.internal:host-gateway"]
    gpus: all
    group_add: [mail]
    init: true
    ipc: shareable
    label_file: [labels.env]
    labels: ["traefik.http.routers.api.rule=Host(`a$$b`)"]
    post_start: [{ command: ["/bin/warm", "$$x"] }]
    pre_stop: [{ command: ["/bin/stop"] }]
    read_only: true
    security_opt: ["no-new-privileges:true"]
    shm_size: 64m
    sysctls: { net.core.somaxconn: 1024 }
    tmpfs: ["/run"]
    ulimits: { nofile: { soft: 1024, hard: 2048 } }
    user: "1000"
    userns_mode: host
    working_dir: /srv
    expose: ["8080"]
    volumes: ["./a$$b:/a", "./c:/c:ro,z"]
    env_file: [{ path: raw.env, format: raw }, { path: gone.env, required: false }]
    x-baton: { hosts: ["*"] }
"#;

#[test]
fn every_other_key_is_handed_back_as_it_was() {
    let folder = Folder::new(&[
        ("compose.yaml", EXOTIC),
        ("labels.env", "from=file\n"),
        ("raw.env", "RAW='$x'\n"),
    ]);
    let project = folder.read().unwrap();
    let blue = compose_model(&project, Color::Blue);
    let service = &blue.model["services"]["api-blue"];
    let original = std::process::Command::new("docker")
        .args(["compose", "config", "--format", "json"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let original: Value = serde_json::from_slice(&original.stdout).unwrap();
    let original = original["services"]["api"].as_object().unwrap();
    let printed = config_again(blue, &["config", "--format", "json"]).unwrap();
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let changed = [
        "environment",
        "labels",
        "networks",
        "pull_policy",
        "restart",
    ];
    for (key, value) in original
        .iter()
        .filter(|(key, _)| !changed.contains(&key.as_str()))
    {
        assert_eq!(&printed["services"]["api-blue"][key], value, "{key}");
    }
    for (key, value) in original["labels"].as_object().unwrap() {
        assert_eq!(
            &printed["services"]["api-blue"]["labels"][key], value,
            "label {key}"
        );
    }
    assert_eq!(
        printed["services"]["api-blue"]["environment"]["RAW"],
        original["environment"]["RAW"]
    );
    assert_eq!(service.get("x-note"), None);
    assert_eq!(blue.services[0].port, Some(8080));
    let told: Vec<_> = project
        .notices
        .iter()
        .map(|notice| notice.key.as_str())
        .collect();
    assert!(told.contains(&"services.api.pre_stop"), "{told:?}");
}
