//! A bad file is answered with file, key path, what was expected and what was found: all of it at
//! once, and exactly as users see it.
#![allow(clippy::unwrap_used)]

mod support;

use support::Folder;

/// What a process app's file is refused with. No Docker is needed for these.
fn process(x_baton: &str) -> String {
    let text = format!(
        "name: shop\nservices:\n  api:\n    command: ./server\n    x-baton: {{ engine: process, {x_baton} }}\n"
    );
    Folder::new(&[("compose.yaml", &text)]).error()
}

fn docker(content: &str) -> String {
    Folder::new(&[("compose.yaml", content)]).error()
}

#[test]
fn the_form_that_is_promised() {
    assert_eq!(
        process("hosts: [a.example.com], drain: { requests: \"30\" }"),
        "compose.yaml: services.api.x-baton.drain.requests: expected a duration such as \"30s\", found \"30\""
    );
    assert_eq!(
        process("hosts: [a.example.com], helth: { path: / }"),
        "compose.yaml: services.api.x-baton.helth: unknown key; did you mean health?"
    );
}

#[test]
fn every_value_has_its_sentence() {
    let mistakes = [
        "hosts: a.example.com",
        "hosts: []",
        "hosts: [\"https://a.example.com\"]",
        "hosts: [a.example.com:443]",
        "hosts: [a.example.com/x]",
        "hosts: [bücher.example]",
        "hosts: [\"a.*.example.com\"]",
        "hosts: [\"w*.example.com\"]",
        "hosts: [-a.example.com]",
        "hosts: [a..example.com]",
        "hosts: [A.example.com, a.example.com]",
        "hosts: [7, {a: b}]",
        "hosts: [\"*\"], worker: true",
        "hosts: [a.example.com], redirect_hosts: [\"*.example.com\"]",
        "hosts: [a.example.com, b.example.com], redirect_hosts: [b.example.com, b.example.com]",
        "hosts: [\"*.example.com\"], redirect_hosts: [www.example.com]",
        "hosts: [a.example.com], error_page: no-such.html",
        "path: /",
        "worker: sometimes",
        "worker: true, path: /x",
        "hosts: [\"*\"], path: api",
        "hosts: [\"*\"], strip_path: true",
        "hosts: [\"*\"], port: 0",
        "hosts: [\"*\"], port: http",
        "hosts: [\"*\"], protocol: http2",
        "hosts: [\"*\"], tls: auto",
        "hosts: [\"*\"], tls: on",
        "hosts: [\"*\"], tls: { cert: a.pem }",
        "hosts: [\"*\"], tls: { cert: a.pem, kee: b.pem }",
        "hosts: [\"*\"], tls: { cert: a.pem, key: b.pem }",
        "hosts: [\"*\"], limits: 64KiB",
        "hosts: [\"*\"], limits: { body: many, idle: 0s }",
        "hosts: [\"*\"], health: /healthz",
        "hosts: [\"*\"], health: { interval: 1s, passes: 0 }",
        "hosts: [\"*\"], health: { interval: 1s }",
        "hosts: [\"*\"], health: { path: /h, expect: fine }",
        "hosts: [\"*\"], health: { path: /h, expect: 399-200 }",
        "hosts: [\"*\"], health: { path: /h, headers: { \"a b\": c } }",
        "hosts: [\"*\"], health: { path: /h, timeout: }",
        "hosts: [\"*\"], warmup: GET /",
        "hosts: [\"*\"], warmup: [GET, \"get /\", \"GET / 20\", \"GET / x0\", \"GET /#a\"]",
        "hosts: [\"*\"], strategy: fast",
        "hosts: [\"*\"], overlap: sometimes, watch: 30",
        "hosts: [\"*\"], keep_warm: 5 minutes",
        "hosts: [\"*\"], max_wait: -1s",
        "hosts: [\"*\"], drain: { websockets: 10, websocket_code: 1000, until: /d }",
        "hosts: [\"*\"], drain: { until: { http: /d, exec: [a] } }",
        "hosts: [\"*\"], drain: { until: {} }",
        "hosts: [\"*\"], colors: { red: {} }",
        "hosts: [\"*\"], colors: { green: { environment: { A: [1] } } }",
        "hosts: [\"*\"], keep_wram: 1s, xyz: 1",
        "hosts: [\"*\"], preview: {}, notify: [{}], activate: {}, migrate: {}",
        "hosts: [\"*\"], basic_auth: {}, allow: []",
        "hosts: [\"*\"], allow: []",
        "hosts: [\"*\"], notify: \"https://hooks.example.com/T0/B0/hidden\"",
        "hosts: [\"*\"], notify: [{ slack: hooks.example.com/hidden, language: de, events: [begun] }]",
        "hosts: [\"*\"], notify: [{ slack: \"https://a.test/hidden\", discord: \"https://a.test/hidden\" }]",
        "hosts: [\"*\"], notify: [{ slack: \"https://a.test/hidden\", secret: hidden }, { webhook: \"https://a.test/hidden\", secret: \"\" }]",
        "hosts: [\"*\"], canary: fast",
        "hosts: [\"*\"], canary: { steps: 5, hold: 2, min_requests: -1, gate: open, header: maybe, step: 1 }",
        "hosts: [\"*\"], canary: { steps: [0, 101, a%] }",
        "hosts: [\"*\"], canary: { steps: [] }",
        "hosts: [\"*\"], canary: { steps: [5, 25, 25] }",
        "hosts: [\"*\"], canary: { steps: [50, 5] }",
        "hosts: [\"*\"], migrate: ./migrate",
        "hosts: [\"*\"], migrate: { command: [], timeout: 0s }",
        "hosts: [\"*\"], migrate: { command: \"./migrate 'up\" }",
        "hosts: [\"*\"], migrate: { command: [./migrate, [up]] }",
        "hosts: [\"*\"], migrate: { command: \"\" }",
        "hosts: [\"*\"], activate: { path: active, wait: 0s }",
        "hosts: [\"*\"], preview: { hosts: [a.test] }",
        "hosts: [\"*\"], preview: { environment: { A: 1 } }",
        "hosts: [\"*\"], preview: { hosts: [\"*\"], share: true }",
        "hosts: [a.test], preview: { hosts: [t.test, T.test, a.test], share: true }",
        "hosts: [a.test], preview: { hosts: [a.test], share: true }",
        "hosts: [a.test], port: 8080, preview: { hosts: [t.test], share: true }",
        "hosts: [a.test], preview: { hosts: [t.test], environment: [A], basic_auth: { a: b }, allow: [10.0.0.1/8] }",
        "hosts: [a.test], preview: { hosts: [\"t-${BATON_ROLE}.test\"], share: true }",
        "hosts: [\"*\"], hooks: { before_start: ./x, after_switch: [\"\", [], {a: b}], after: [x] }",
        "hosts: [\"*\"], basic_auth: user:hash",
        "hosts: [\"*\"], basic_auth: { admin: hunter2, \"a:b\": c }",
        "hosts: [\"*\"], allow: 10.0.0.0/8",
        "hosts: [\"*\"], allow: [10.0.0.1/8, office, \"2001:db8::1/32\", 10]",
        "worker: true, canary: {}, watch: 30s, basic_auth: { a: \"$$2y$$05$$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\" }, allow: [10.0.0.1], activate: { path: /a }",
        "worker: true, preview: { hosts: [t.test], allow: [10.0.0.1] }",
        "hosts: [\"*\"], sse: /sse",
        "hosts: [\"*\"], sse: { path: /sse }",
        "hosts: [\"*\"], sse: [{ path: /sse }, { mode: cut }]",
        "hosts: [\"*\"], sse: [{ path: sse, mode: both }, { path: /a**, mode: cut }]",
        "hosts: [\"*\"], sse: [{ path: /sse, mode: cut }, { path: /sse, mode: union, attach_grace: 2 }]",
        "hosts: [\"*\"], sse: [{ path: /sse, mode: cut }, { path: /sse, mode: union }]",
        "hosts: [\"*\"], sse: [{ path: /sse, mode: cut, drop_on_attach: connect }]",
        "hosts: [\"*\"], redis: {}",
        "hosts: [\"*\"], redis: { url: \"http://redis\", url_env: A=B, streams: [] }",
        "hosts: [\"*\"], redis: { url: \"redis://r\", url_env: R, streams: [{ key: a, key_env: A }] }",
        "hosts: [\"*\"], redis: { url_env: R, streams: [{ keys: a }], leftover: drop, create: maybe }",
        "hosts: [\"*\"], sessions: {}",
        "hosts: [\"*\"], sessions: { cookie: \"a b\", keep: 0s }",
        "worker: true, sessions: { cookie: S }, sse: []",
    ];
    let shown: Vec<String> = mistakes
        .iter()
        .map(|mistake| format!("{mistake}\n{}\n", process(mistake)))
        .collect();
    insta::assert_snapshot!("values", shown.join("\n"));
}

#[test]
fn services_of_one_app_say_the_same() {
    let error = docker(
        r#"
name: shop
services:
  a: { image: x, x-baton: { hosts: [a.test], port: 1, strategy: canary, overlap: never, preview: { hosts: [t.test, b.test], share: true } } }
  b: { image: x, x-baton: { hosts: [b.test, c.test], port: 1, preview: { hosts: [t.test, "*.test"], share: true } } }
  c: { image: x, x-baton: { worker: true, strategy: rolling, overlap: preferred } }
"#,
    );
    insta::assert_snapshot!("one_app", error);
}

#[test]
fn a_preview_takes_no_host_of_a_service_that_was_not_chosen() {
    let mut folder = Folder::new(&[(
        "compose.yaml",
        r#"
name: shop
services:
  a: { image: x, x-baton: { hosts: [a.test], port: 1, preview: { hosts: [B.test], share: true } } }
  b: { image: x, x-baton: { hosts: [b.test], port: 1 } }
"#,
    )]);
    folder.options.services = vec!["a".to_owned()];
    assert_eq!(
        folder.error(),
        "compose.yaml: services.a.x-baton.preview.hosts: b.test is a live host of services.b\n  give the preview another, such as test.b.test"
    );
}

#[test]
fn a_process_file_has_only_keys_that_are_known() {
    let folder = Folder::new(&[(
        "compose.yaml",
        r#"
name: shop
volumes: { data: {} }
version: "3"
services:
  api:
    image: shop/api
    comand: ./server
    ports: ["80:80"]
    deploy: { replicas: 0, resources: {} }
    stop_grace_period: 30
    env_file: none.env
    environment: { A: [1] }
    x-baton: { engine: process, hosts: ["a.example.com"] }
  redis:
    command: redis-server 'x
  worker:
    command: "./worker ${NEEDED:?set it}"
    x-baton: { engine: docker, worker: true }
  other:
    command: ["./x"]
    x-baton: { engine: process, hosts: [a.example.com], health: { path: "${BATON_COLOR:+/}${BATON_COLOR}" } }
"#,
    )]);
    insta::assert_snapshot!("process_keys", folder.error());
}

#[test]
fn yaml_that_is_none_is_said_with_its_line() {
    let folder = Folder::new(&[
        (
            "compose.yaml",
            "services:\n  api:\n    x-baton: { engine: process }\n",
        ),
        ("compose.override.yaml", "services:\n  api: [\n"),
    ]);
    let error = folder.error();
    assert!(error.starts_with("compose.override.yaml: "), "{error}");
    assert!(error.contains("line"), "{error}");
}

#[test]
fn what_cannot_be_colored_is_refused_by_name() {
    let content = r#"
name: shop
services:
  redis: { image: redis }
  hosty: { image: x, network_mode: host, x-baton: { hosts: [a.test], port: 1 } }
  shared: { image: x, network_mode: "service:redis", x-baton: { hosts: [b.test], port: 1 } }
  pids: { image: x, pid: "service:redis", ipc: "service:redis", x-baton: { hosts: [c.test], port: 1 } }
  volumes: { image: x, volumes_from: [redis], x-baton: { hosts: [d.test], port: 1 } }
  links: { image: x, links: [redis], x-baton: { hosts: [e.test], port: 1 } }
  mac: { image: x, mac_address: "02:42:ac:11:00:03", x-baton: { hosts: [f.test], port: 1 } }
  ip: { image: x, networks: { net: { ipv4_address: 10.99.0.2, ipv6_address: "fd00::2", mac_address: "02:42:ac:11:00:04" } }, x-baton: { hosts: [g.test], port: 1 } }
  hostnet: { image: x, networks: [h], x-baton: { hosts: [h.test], port: 1 } }
  none: { image: x, network_mode: none, x-baton: { worker: true } }
networks:
  net: { ipam: { config: [{ subnet: 10.99.0.0/24 }, { subnet: "fd00::/64" }] }, enable_ipv6: true }
  h: { external: true, name: host }
"#;
    insta::assert_snapshot!("uncolorable", docker(content));
}

#[test]
fn ports_and_services_that_cannot_be_guessed() {
    let mut folder = Folder::new(&[(
        "compose.yaml",
        r#"
name: shop
services:
  none: { image: x, x-baton: { hosts: [a.test] } }
  two: { image: x, expose: [80], ports: ["443:443"], x-baton: { hosts: [b.test] } }
  range: { image: x, expose: ["3000-3005"], x-baton: { hosts: [c.test] } }
  zero: { image: x, scale: 0, x-baton: { worker: true } }
  same: { image: x, expose: ["80/tcp", "53/udp"], x-baton: { hosts: [b.test, a.test] } }
  token: { image: x, secrets: [t], x-baton: { worker: true } }
secrets: { t: { environment: NO_SUCH_VARIABLE } }
"#,
    )]);
    let first = folder.error();
    folder.options.image_override = Some("x:2".to_owned());
    folder.options.services = vec!["zero".to_owned(), "tokn".to_owned()];
    let second = folder.error();
    insta::assert_snapshot!("guesses", format!("{first}\n\n{second}"));
}

#[test]
fn the_file_that_says_it_is_named() {
    let mut folder = Folder::new(&[
        (
            "a.yaml",
            "services: { api: { image: x, x-baton: { hosts: ['*'], port: 80 } } }",
        ),
        (
            "b.yaml",
            "services: { api: { x-baton: { keep_warm: soon } } }",
        ),
    ]);
    folder.options.files = vec!["a.yaml".into(), "b.yaml".into()];
    assert_eq!(
        folder.error(),
        "b.yaml: services.api.x-baton.keep_warm: expected a duration such as \"30s\", found \"soon\""
    );
}

#[test]
fn composes_own_words_are_passed_on() {
    let shown = [
        docker("services: { api: { imag: x } }"),
        docker("services: { api: { image: 'x:${TAG:?set TAG}', x-baton: { hosts: ['*'] } } }"),
        docker("services: { api: { image: x } }"),
        docker("services: { api: { image: x, profiles: [web], x-baton: { hosts: ['*'] } } }"),
        docker(
            "services: { api: { image: x, x-baton: { hosts: ['*'], port: 1, path: '/${BATON_COLOR}' } } }",
        ),
    ];
    insta::assert_snapshot!("compose_words", shown.join("\n"));
}

#[test]
fn a_value_of_the_environment_is_never_in_an_error() {
    let error = process(
        "hosts: [a.test], colors: { green: { environment: [\"SECRET\", \"a=hunter2\"] } }, health: { path: /h, headers: { Authorization: \"hunter2\\n\" } }",
    );
    assert!(!error.contains("hunter2"), "{error}");
    assert!(error.contains("SECRET"), "{error}");
    let error = process(
        "hosts: [a.test], basic_auth: { a: hunter2 }, preview: { basic_auth: hunter2, environment: { B: [hunter2] } }",
    );
    assert!(!error.contains("hunter2"), "{error}");
    assert!(error.contains("htpasswd -nbB"), "{error}");
}
