//! `--router nginx`: a real nginx carries the traffic and Baton writes one file for it. No request on a
//! new connection fails in a deploy; what nginx itself does to kept connections is counted.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::kit::app::docker;
use crate::kit::machine::{PATIENCE, get};
use crate::kit::nginx::{Askers, Keeping, Nginx, upstream};
use crate::kit::{App, Engine, Machine, Ran, deploys, wait_for};

#[test]
fn deploys_through_nginx_fail_no_request() {
    let nginx = Nginx::start();
    let mut app = App::new(Engine::Process, "ngx");
    let machine = nginx.serving(&app);
    let deploys = deploys(4);
    let all = [Keeping::Fresh, Keeping::Kept, Keeping::Retrying]
        .map(|keeping| (keeping, Askers::start(nginx.address, keeping, 8)));
    for number in 2..=deploys + 1 {
        app.version(&format!("v{number}"));
        machine.deploy(&app, &[]);
        assert_eq!(nginx.release("app.test"), format!("r{number}"));
    }
    for (keeping, askers) in all {
        let (requests, failed, closed, first) = askers.stop();
        println!(
            "{deploys} deploys through nginx, {keeping:?}: {requests} requests, {failed} failed, {closed} kept connections closed under one"
        );
        assert!(requests > 100, "{keeping:?}");
        // A kept connection that nginx closes under a request is nginx's; the README says so.
        if keeping != Keeping::Kept {
            assert_eq!(failed, 0, "{keeping:?}: {first:?}\n{}", nginx.error_log());
        }
    }
    let receipts = machine.run(app.folder(), &["receipts", "--json", "--app", app.name()]);
    assert!(receipts.stdout.contains("\"counted\":false"), "{receipts}");
}

#[test]
fn plain_compose_container_serves_on_through_the_first_deploy() {
    let nginx = Nginx::start();
    let machine = Machine::start_with_nginx(&nginx, &[]);
    let mut app = App::new(Engine::Docker, "ngxadopt");
    app.version("plain");
    let up = std::process::Command::new("docker")
        .args(["compose", "up", "-d"])
        .current_dir(app.folder())
        .output()
        .unwrap();
    assert!(up.status.success(), "{}", Ran::from(up));
    let filter = format!("label=com.docker.compose.project={}", app.name());
    let id = docker(&["ps", "-q", "--filter", &filter]);
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = docker(&["inspect", "-f", format, &id]);
    nginx.site(&format!("{address}:8080"));
    assert_eq!(nginx.release("app.test"), "none");
    let askers = Askers::start(nginx.address, Keeping::Fresh, 8);

    // nginx would go on to the old container: nothing is switched, and the next step is said.
    app.version("v1");
    let refused = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(refused.code, 6, "{refused}\n{}", machine.log());
    let message = refused.message();
    assert!(
        message.contains(&format!("proxy_pass http://{};", upstream(&app))),
        "{message}"
    );
    let included = nginx.included();
    assert!(
        included.contains(&format!("server {address}:8080;")),
        "the upstream leads to what serves: {included}"
    );

    nginx.site(&upstream(&app));
    let ran = machine.baton(&app, &["deploy", "--json", "--wait", "drained"]);
    assert_eq!(ran.code, 0, "{ran}\n{}", machine.log());
    assert_eq!(nginx.release("app.test"), ran.result()["release"]);
    let (requests, failed, _, first) = askers.stop();
    println!("first deploy of a plain container: {requests} requests, {failed} failed");
    assert_eq!(failed, 0, "{first:?}\n{}", nginx.error_log());
    assert_eq!(
        docker(&["ps", "-q", "--filter", &filter]),
        "",
        "the old container has ended"
    );
}

#[test]
fn event_stream_stays_with_its_worker_until_it_ends() {
    let nginx = Nginx::start();
    let mut app = App::new(Engine::Process, "ngxsse");
    let machine = nginx.serving(&app);
    let mut stream = TcpStream::connect(nginx.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET /sse?every_ms=100&n=60 HTTP/1.1\r\nHost: app.test\r\n\r\n"
    )
    .unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut events = || {
        lines.find_map(|line| {
            let line = line.expect("the stream is not cut");
            line.starts_with("data:").then_some(())
        })
    };
    assert!(events().is_some());
    app.version("v2");
    machine.deploy(&app, &[]);
    assert_eq!(nginx.release("app.test"), "r2");
    assert_eq!(machine.role(&app, "blue"), "draining");
    let mut got = 1;
    while got < 60 && events().is_some() {
        got += 1;
    }
    assert_eq!(got, 60, "every event of the old color came");
    wait_for("the old color to end", PATIENCE, || {
        (machine.role(&app, "blue") == "empty").then_some(())
    });
}

#[test]
fn preview_has_an_upstream_of_its_own() {
    let nginx = Nginx::start();
    let mut app = App::new(Engine::Process, "ngxpre");
    app.policy("preview", "{ hosts: [preview.test], share: true }");
    let machine = nginx.serving(&app);
    let preview = format!("{}_preview", upstream(&app));
    nginx.site_of("preview.test", "preview.conf", &preview);
    let (status, _, _) = get(nginx.address, "preview.test", "/").unwrap();
    assert_eq!(status, 503, "nothing is staged");
    app.version("v2");
    let staged = machine.baton(&app, &["stage", "--json"]);
    assert_eq!(staged.code, 0, "{staged}\n{}", machine.log());
    assert_eq!(nginx.release("preview.test"), "r2");
    assert_eq!(nginx.release("app.test"), "r1");
}

#[test]
fn rolling_exchanges_one_instance_after_the_other() {
    let nginx = Nginx::start();
    let mut app = App::new(Engine::Process, "ngxroll");
    app.policy("strategy", "rolling");
    let twice = |app: &App| {
        let text = app.compose().replace(
            "    x-baton:\n",
            "    deploy: { replicas: 2 }\n    x-baton:\n",
        );
        app.write_file("compose.yaml", &text);
    };
    twice(&app);
    let machine = nginx.serving(&app);
    let askers = Askers::start(nginx.address, Keeping::Fresh, 8);
    app.version("v2");
    twice(&app);
    machine.deploy(&app, &[]);
    assert_eq!(nginx.release("app.test"), "r2");
    let (requests, failed, _, first) = askers.stop();
    println!("rolling through nginx: {requests} requests, {failed} failed");
    assert_eq!(failed, 0, "{first:?}\n{}", nginx.error_log());
}
