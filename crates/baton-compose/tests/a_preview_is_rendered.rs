//! A test server beside the live color: its own environment, never the live name, and nothing in it
//! that would touch what is live.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use baton_compose::messages::{Reader, preview_takes};
use baton_compose::policy::PerColor;
use baton_compose::{Color, Project, Role};
use serde_json::Value;
use support::{Folder, compose_model, compose_model_in, config_again, process_model_in};

const SHOP: &str = r#"
name: shop
services:
  api:
    image: shop/api:1
    hostname: api-host
    expose: ["8080"]
    environment:
      DB_URL: postgres://db/live
      MODE: ${BATON_ROLE:-plain}
      KEY: orders-${BATON_COLOR:-blue}
      GROUP: api
    networks: { shop: { aliases: [web] } }
    volumes: ["uploads:/uploads", "cache:/cache", "./conf:/conf:ro"]
    secrets: [token]
    depends_on: [redis, jobs, mailer]
    x-baton:
      hosts: [api.example.com]
      colors: { green: { environment: { DB_URL: green, ONLY: "g-${BATON_ROLE}" } } }
      redis: { url: "redis://redis", streams: [{ key_env: KEY, group_env: GROUP }] }
      preview:
        hosts: [test.api.example.com]
        allow: [10.0.0.0/8]
        environment: { DB_URL: "postgres://db/test$$1", KEY: "preview-${BATON_COLOR}-${BATON_ROLE}" }
  jobs:
    image: shop/jobs:1
    environment: { DB_URL: live }
    x-baton: { worker: true, preview: { environment: { DB_URL: test } } }
  mailer: { image: shop/mailer:1, x-baton: { worker: true } }
  site: { image: shop/site:1, expose: ["80"], x-baton: { hosts: [example.com] } }
  redis: { image: "redis:7", networks: [shop] }
networks: { shop: {} }
volumes: { uploads: {}, cache: { name: "cache-${BATON_ROLE:-live}" } }
secrets: { token: { environment: TOKEN } }
"#;

fn shop() -> Project {
    let folder = Folder::new(&[("compose.yaml", SHOP), ("conf/a", "")]).set("TOKEN", "t0p");
    folder.read().unwrap()
}

fn of<'a>(model: &'a Value, service: &str) -> &'a Value {
    &model["services"][service]
}

#[test]
fn each_color_is_there_in_both_roles() {
    let project = shop();
    assert!(project.has_preview());
    let there: Vec<(Color, Role)> = project
        .renderings
        .iter()
        .map(|(c, r, _)| (*c, *r))
        .collect();
    assert_eq!(
        there,
        [
            (Color::Blue, Role::Live),
            (Color::Green, Role::Live),
            (Color::Blue, Role::Preview),
            (Color::Green, Role::Preview)
        ]
    );
    for color in Color::BOTH {
        let preview = compose_model_in(&project, color, Role::Preview);
        assert_eq!(preview.project, format!("shop-{color}"));
        assert_eq!(preview.environment["TOKEN"], "t0p");
        config_again(preview, &["config", "--quiet"]).unwrap();
    }
}

#[test]
fn the_environment_is_the_previews_own() {
    let project = shop();
    for (color, only) in [
        (Color::Blue, Value::Null),
        (Color::Green, "g-preview".into()),
    ] {
        let model = &compose_model_in(&project, color, Role::Preview).model;
        let environment = &of(model, &format!("api-{color}"))["environment"];
        // Over `colors`, too.
        assert_eq!(environment["DB_URL"], "postgres://db/test$$1");
        assert_eq!(environment["KEY"], format!("preview-{color}-preview"));
        assert_eq!(environment["GROUP"], "api");
        assert_eq!(environment["MODE"], "preview");
        assert_eq!(environment["BATON_ROLE"], "preview");
        assert_eq!(environment["BATON_COLOR"], color.as_str());
        assert_eq!(environment["ONLY"], only);
        let jobs = &of(model, &format!("jobs-{color}"))["environment"];
        assert_eq!(jobs["DB_URL"], "test");
    }
    // The live one is what it would be without a preview.
    let live = &compose_model(&project, Color::Green).model;
    let environment = &of(live, "api-green")["environment"];
    assert_eq!(environment["DB_URL"], "green");
    assert_eq!(environment["KEY"], "orders-green");
    assert_eq!(environment["MODE"], "live");
    assert_eq!(environment["ONLY"], "g-live");
    assert_eq!(environment["BATON_ROLE"], "live");
    // What it is told apart by is a secret, too.
    assert!(!format!("{project:?}").contains("postgres://db/test"));
    let masked = serde_json::to_string(&project.renderings[3].2.masked()).unwrap();
    assert!(!masked.contains("postgres://db/test"), "{masked}");
    let live = project.renderings[1].2.environment("api");
    assert_eq!(live["DB_URL"], "green");
    let preview = project.renderings[3].2.environment("api");
    assert_eq!(preview["DB_URL"], "postgres://db/test$1");
}

#[test]
fn a_preview_never_answers_to_a_live_name() {
    let project = shop();
    for color in Color::BOTH {
        let live = compose_model_in(&project, color, Role::Live);
        let api = live.services.iter().find(|one| one.name == "api").unwrap();
        assert_eq!(api.live_aliases, ["api", "web", "api-host"]);
        let preview = compose_model_in(&project, color, Role::Preview);
        for service in &preview.services {
            assert_eq!(service.live_aliases, [""; 0], "{}", service.name);
        }
        let api = of(&preview.model, &format!("api-{color}"));
        assert_eq!(api["networks"]["shop"], serde_json::json!({}));
        assert_eq!(api["hostname"], format!("api-host-{color}"));
    }
}

#[test]
fn only_what_has_a_preview_is_started_in_one() {
    let project = shop();
    let started =
        |role: Role| -> Vec<&str> { project.started(role).map(|one| one.name.as_str()).collect() };
    assert_eq!(started(Role::Live), ["api", "jobs", "mailer", "site"]);
    assert_eq!(started(Role::Preview), ["api", "jobs"]);
    let preview = compose_model_in(&project, Color::Green, Role::Preview);
    let services: Vec<&String> = preview.model["services"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(services, ["api-green", "jobs-green"]);
    let told: Vec<String> = project
        .notices
        .iter()
        .filter(|notice| notice.text.contains("preview"))
        .map(|notice| format!("{}: {}", notice.key, notice.text))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    services.mailer: is not started in a preview: a worker of a test server would take live messages; `preview: { environment: … }` starts it there with its own
    services.site: is not started in a preview, since it has none of its own: what calls it there reaches the live one
    services.api.volumes: a preview writes into shop_uploads, which is the live color's too: put ${BATON_ROLE} into it, or make it read-only
    ");
}

#[test]
fn without_a_preview_nothing_more_is_rendered() {
    let mut folder = Folder::new(&[("compose.yaml", SHOP), ("conf/a", "")]).set("TOKEN", "t0p");
    folder.options.services = vec!["site".to_owned()];
    let project = folder.read().unwrap();
    assert!(!project.has_preview());
    assert_eq!(project.renderings.len(), 2);
    assert!(project.notices.iter().all(|n| !n.text.contains("preview")));
}

fn process(x_baton: &str, environment: &str) -> Folder {
    let text = format!(
        r#"
name: shop
services:
  api:
    command: "./server --role ${{BATON_ROLE}}"
    environment: {{ {environment} }}
    x-baton: {{ engine: process, hosts: [a.test], {x_baton} }}
  jobs:
    command: ./jobs
    x-baton: {{ engine: process, worker: true }}
"#
    );
    Folder::new(&[("compose.yaml", &text)])
}

#[test]
fn processes_have_previews_too() {
    let folder = process(
        r#"preview: { hosts: [t.test], environment: { DB: "test-${BATON_COLOR}" } }, colors: { green: { environment: { DB: green } } }"#,
        "DB: live, OTHER: x",
    );
    let project = folder.read().unwrap();
    assert_eq!(project.renderings.len(), 4);
    for color in Color::BOTH {
        let preview = process_model_in(&project, color, Role::Preview);
        let names: Vec<&str> = preview
            .services
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names, ["api"]);
        let api = &preview.services[0];
        assert_eq!(api.environment["DB"], format!("test-{color}"));
        assert_eq!(api.environment["OTHER"], "x");
        assert_eq!(api.environment["BATON_ROLE"], "preview");
        assert_eq!(api.command.last().unwrap(), "preview");
        let live = process_model_in(&project, color, Role::Live);
        assert_eq!(live.services.len(), 2);
        assert_eq!(live.services[0].environment["BATON_ROLE"], "live");
    }
    let live = process_model_in(&project, Color::Green, Role::Live);
    assert_eq!(live.services[0].environment["DB"], "green");
    let told: Vec<&str> = project.notices.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(told, ["services.jobs"]);
}

const STREAMS: &str =
    "redis: { url_env: REDIS_URL, streams: [{ key_env: KEY, group_env: GROUP }] }";

/// The file is refused, or what it is told about live messages.
fn messages(preview: &str, environment: &str) -> String {
    let folder = process(
        &format!("{STREAMS}, preview: {{ hosts: [t.test], {preview} }}"),
        environment,
    );
    match folder.read() {
        Err(error) => folder.shown(&error.to_string()),
        Ok(project) => {
            let told = project
                .notices
                .iter()
                .filter(|n| n.text.contains("preview reads"));
            told.map(|notice| format!("{}: {}", notice.key, notice.text))
                .collect::<Vec<_>>()
                .join("\n")
        }
    }
}

#[test]
fn a_preview_that_takes_live_messages_is_refused() {
    let both = "KEY: orders, GROUP: api";
    let refused = messages("share: true", both);
    assert_eq!(
        refused,
        "compose.yaml: services.api.x-baton.preview: a preview would read the stream that KEY holds with the live color's group, and take messages from it: set KEY in `preview.environment` to a stream of its own"
    );
    assert_eq!(messages("environment: { DB: test }", both), refused);
    // Of either color: today's preview sits where the live color was, and will be.
    let colored = "KEY: \"orders-${BATON_COLOR}\", GROUP: api";
    assert_eq!(messages("environment: { DB: test }", colored), refused);
    assert_eq!(
        messages("environment: { KEY: orders-green }", colored),
        refused
    );

    assert_eq!(messages("environment: { KEY: test }", both), "");
    assert_eq!(messages("environment: { KEY: test }", colored), "");
    // Another database is another stream.
    let with_url = "KEY: orders, GROUP: api, REDIS_URL: \"redis://r/0\"";
    assert_eq!(
        messages("environment: { REDIS_URL: \"redis://r/1\" }", with_url),
        ""
    );
    // The image may say it; the daemon looks again.
    assert_eq!(messages("share: true", "GROUP: api"), "");
}

#[test]
fn a_preview_that_reads_live_messages_with_another_group_is_told() {
    assert_eq!(
        messages("environment: { GROUP: preview }", "KEY: orders, GROUP: api"),
        "services.api.x-baton.preview: a preview reads live messages too: the stream that KEY holds is the live color's, with another group"
    );
}

#[test]
fn a_written_key_names_the_role() {
    let written = |key: &str| {
        process(
            &format!(
                "redis: {{ url: \"redis://r\", streams: [{{ key: \"{key}\", group: api }}] }}, preview: {{ hosts: [t.test], share: true }}"
            ),
            "",
        )
    };
    let folder = written("orders-${BATON_COLOR}");
    let error = folder.error();
    assert!(error.contains("the stream orders-blue"), "{error}");
    assert!(
        error.contains("put ${BATON_ROLE} into its `key`"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");

    let project = written("orders-${BATON_ROLE}-${BATON_COLOR}")
        .read()
        .unwrap();
    let policy = &project.services[0].policy;
    let key = |role: Role| policy.redis_in(role).unwrap().streams[0].key.clone();
    let both = |blue: &str, green: &str| PerColor::Written {
        blue: blue.to_owned(),
        green: green.to_owned(),
    };
    assert_eq!(
        key(Role::Live),
        both("orders-live-blue", "orders-live-green")
    );
    assert_eq!(
        key(Role::Preview),
        both("orders-preview-blue", "orders-preview-green")
    );
}

/// What only the image says is judged by the same rule once both run.
#[test]
fn the_daemon_judges_by_the_same_rule() {
    let project = process(
        &format!("{STREAMS}, preview: {{ hosts: [t.test], share: true }}"),
        "",
    )
    .read()
    .unwrap();
    let policy = &project.services[0].policy;
    let from_image: BTreeMap<String, String> = [("KEY", "orders"), ("GROUP", "api")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let reader = |role, color| Reader {
        redis: policy.redis_in(role).unwrap(),
        color,
        environment: &from_image,
    };
    let takes = preview_takes(
        reader(Role::Live, Color::Blue),
        reader(Role::Preview, Color::Green),
    );
    assert!(takes.unwrap().contains("the stream that KEY holds"));
}
