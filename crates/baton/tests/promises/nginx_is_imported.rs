//! From an nginx `server` block and a plain compose file to a deploy: `baton import nginx` writes both
//! the `x-baton` and the daemon's settings, and what it wrote works.

use crate::kit::machine::{call, free_port};
use crate::kit::{App, Engine, Machine};

#[test]
fn imported_server_block_deploys() {
    let machine = Machine::start();
    let app = App::new(Engine::Docker, "imported");
    let port = free_port().port();
    let plain = app.compose();
    let plain = plain.split("    x-baton:").next().unwrap();
    app.write_file(
        "compose.yaml",
        &format!("{plain}    ports: [\"127.0.0.1:{port}:8080\"]\n"),
    );
    app.write_file(
        "shop.conf",
        &format!(
            "server {{ listen 80; server_name www.app.test; return 301 http://app.test$request_uri; }}\n\
             server {{\n  listen 80;\n  server_name app.test;\n  client_max_body_size 2m;\n  gzip on;\n\
               location / {{ proxy_pass http://127.0.0.1:{port}; proxy_set_header Host $host; }}\n}}\n"
        ),
    );

    let shown = machine.baton(&app, &["import", "nginx", "shop.conf"]);
    assert_eq!(shown.code, 0, "{shown}");
    assert!(shown.stdout.contains("shop.conf:6: gzip on"), "{shown}");
    let untouched = std::fs::read_to_string(app.folder().join("compose.yaml")).unwrap();
    assert!(
        !untouched.contains("x-baton"),
        "nothing is changed by a look"
    );

    let arguments = [
        "import",
        "nginx",
        "shop.conf",
        "--apply",
        "-o",
        "baton.toml",
        "--json",
    ];
    let applied = machine.baton(&app, &arguments);
    assert_eq!(applied.code, 0, "{applied}");
    let settings = std::fs::read_to_string(app.folder().join("baton.toml")).unwrap();
    assert_eq!(settings, "http = [\"0.0.0.0:80\"]\nhttps = \"off\"\n");
    let again = machine.baton(&app, &arguments);
    assert_eq!(again.code, 2, "an x-baton is there: {again}");

    let done = machine.deploy(&app, &[]);
    assert_eq!(machine.answering_release(&app), done["release"]);
    let (status, _, _) = machine.get("other.test", "/");
    assert_eq!(status, 404, "only the hosts of the server block");
    let (status, head, _) = machine.get("www.app.test", "/x");
    assert_eq!(status, 301, "{head}");
    let large = "Content-Length: 3000000\r\n";
    let (status, ..) = call(machine.http, "GET", "app.test", "/", large).unwrap();
    assert_eq!(status, 413, "client_max_body_size is carried over");
}
