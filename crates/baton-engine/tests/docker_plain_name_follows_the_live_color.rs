//! Other services of the file reach the live color by the plain name, never a candidate, and lose no
//! call while live moves.

mod support;

use std::time::Duration;

use baton_compose::Color;
use baton_engine::{Engine, InstanceId};
use serde_json::{Value, json};
use support::{TestApp, docker, eventually, get, json_of, look};
use tokio::time::{Instant, sleep};

/// A plain service that calls `http://api:8080/` without pause; its id and the address of its tally.
async fn caller(app: &TestApp, url: &str) -> (InstanceId, String, Value) {
    let file = json!({
        "services": {"caller": {"image": app.image, "command": ["call", url], "networks": ["shop"]}},
        "networks": {"shop": {}},
    });
    app.compose(&file, &["up", "-d", "caller"]);
    let found = app
        .engine
        .plain_instances(&app.name, "caller")
        .await
        .expect("a list");
    let ip = found[0].address.expect("an address").ip;
    let address = format!("{ip}:8080");
    eventually("the caller answers", || async {
        get(&address, "/calls").await.is_ok()
    })
    .await;
    (found[0].id.clone(), address, file)
}

fn routes(id: &InstanceId) -> String {
    let pid = look(id, "{{.State.Pid}}");
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/route")).expect("routes");
    let default = table
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some("00000000"));
    default.collect::<Vec<_>>().join("\n")
}

/// 0 while the caller does not answer yet.
async fn calls_by(tally: &str, color: &str) -> u64 {
    let Ok(body) = get(tally, "/calls").await else {
        return 0;
    };
    let tally: Value = serde_json::from_str(&body).expect("JSON");
    tally["by_color"][color].as_u64().unwrap_or(0)
}

/// Nobody is connected but the caller, on the one connection that it keeps: what is left to end is
/// the app's, at its stop signal.
async fn only_the_kept_connection_is_left(app: &TestApp, id: &InstanceId) {
    eventually("only the kept connection is left", || async {
        let open = app.engine.direct_connections(id).await.expect("a count");
        open.expect("counted") <= 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_by_the_plain_name_is_lost_and_none_reaches_a_candidate() {
    let app = TestApp::new("name");
    let live_network = format!("{}_live", app.name);
    let (rendering, blue) = app.serve(Color::Blue, 1).await;
    let slot = app.slot(Color::Blue);
    app.engine
        .set_live(&slot, &rendering, true)
        .await
        .expect("live");
    // The caller starts after the network was made: the engine's events make it join.
    let (caller, tally, file) = caller(&app, "http://api:8080/slow?ms=20").await;
    eventually("blue is called", || async {
        calls_by(&tally, "blue").await > 10
    })
    .await;
    // Calls from before the caller had joined found no such name.
    let failed = json_of(&tally, "/calls").await["failed"].clone();
    let way_out = routes(&caller);

    let mut live = (slot, rendering, blue);
    for release in 2..8 {
        let color = live.0.color.other();
        let (rendering, candidate) = app.serve(color, release).await;
        let before = calls_by(&tally, color.as_str()).await;
        sleep(Duration::from_millis(200)).await;
        let after = calls_by(&tally, color.as_str()).await;
        assert_eq!(after, before, "a candidate was called");

        // In flight on the live network while the old color gives its name away.
        let template =
            format!("{{{{(index .NetworkSettings.Networks \"{live_network}\").IPAddress}}}}");
        let ip = look(&live.2.id, &template);
        let slow = tokio::spawn(async move { get(&format!("{ip}:8080"), "/slow?ms=1500").await });
        let slot = app.slot(color);
        let began = Instant::now();
        app.engine
            .set_live(&slot, &rendering, true)
            .await
            .expect("live");
        let named = began.elapsed();
        app.engine
            .set_live(&live.0, &live.1, false)
            .await
            .expect("not live");
        println!(
            "named after {named:?}, unnamed after {:?}",
            began.elapsed() - named
        );
        {
            // Again: there is nothing to do.
            app.engine
                .set_live(&slot, &rendering, true)
                .await
                .expect("live");
            app.engine
                .set_live(&live.0, &live.1, false)
                .await
                .expect("not live");
        }
        eventually("the new color is called", || async {
            calls_by(&tally, color.as_str()).await > before
        })
        .await;
        slow.await
            .expect("a task")
            .expect("the request in flight is answered");
        only_the_kept_connection_is_left(&app, &live.2.id).await;
        let policy = |id: &InstanceId| look(id, "{{.HostConfig.RestartPolicy.Name}}");
        assert_eq!(policy(&candidate.id), "unless-stopped");
        assert_eq!(policy(&live.2.id), "no");
        app.engine.clear(&live.0, &[]).await.expect("clear");
        live = (slot, rendering, candidate);
    }
    let end = json_of(&tally, "/calls").await;
    println!("calls through 6 moves: {end}");
    assert_eq!(end["failed"], failed, "{end}");
    assert_eq!(
        routes(&caller),
        way_out,
        "joining must not change the way out"
    );

    // Plain Compose does not mind the extra network.
    app.compose(&file, &["up", "-d", "caller"]);
    assert_eq!(look(&caller, "{{.State.Running}}"), "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn colored_services_find_each_other_by_the_plain_name_too() {
    let app = TestApp::new("mesh");
    let live_network = format!("{}_live", app.name);
    let services = |_: Color| {
        [
            ("api", json!({"port": 8080})),
            (
                "front",
                json!({"port": 8080, "command": ["call", "http://api:8080/"]}),
            ),
        ]
    };
    let blue = app.rendering(Color::Blue, &services(Color::Blue));
    let started = app.start(Color::Blue, 1, &blue).await.expect("a start");
    support::answers(&started[0]).await;
    let aliases = look(
        &started[0].id,
        &format!("{{{{json (index .NetworkSettings.Networks \"{live_network}\").Aliases}}}}"),
    );
    assert!(
        !aliases.contains("\"api\""),
        "a candidate has no plain name: {aliases}"
    );
    app.engine
        .set_live(&app.slot(Color::Blue), &blue, true)
        .await
        .expect("live");
    let front = app
        .engine
        .inspect(&started[1].id)
        .await
        .expect("a look")
        .expect("it is there");
    let tally = front.address.expect("an address").to_string();
    eventually("blue calls blue", || async {
        calls_by(&tally, "blue").await > 0
    })
    .await;
    assert_eq!(
        docker(&[
            "network",
            "inspect",
            "--format",
            "{{.Internal}}",
            &live_network
        ]),
        "true"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_container_gives_its_name_away_without_a_lost_call() {
    let app = TestApp::new("adopt");
    let file = json!({
        "services": {
            "api": {"image": app.image, "networks": ["shop"], "environment": {"BATON_COLOR": "plain"}},
            "caller": {"image": app.image, "command": ["call", "http://api:8080/"], "networks": ["shop"],
                "depends_on": ["api"]},
        },
        "networks": {"shop": {}},
    });
    app.compose(&file, &["up", "-d"]);
    let api = app
        .engine
        .plain_instances(&app.name, "api")
        .await
        .expect("a list")
        .remove(0);
    assert_eq!((api.slot.clone(), api.release), (None, None));
    let caller = app
        .engine
        .plain_instances(&app.name, "caller")
        .await
        .expect("a list")
        .remove(0);
    let tally = format!("{}:8080", caller.address.expect("an address").ip);
    eventually("r0 is called", || async {
        calls_by(&tally, "plain").await > 20
    })
    .await;
    let failed = json_of(&tally, "/calls").await["failed"].clone();

    // Adopted as r0 of blue.
    let r0 = app.rendering(Color::Blue, &[("api", json!({"port": 8080}))]);
    let blue = app.slot(Color::Blue);
    // A blue candidate that failed and is gone is not r0: nothing is taken from the plain one.
    app.engine
        .set_live(&blue, &r0, false)
        .await
        .expect("not live");
    let shop = format!(
        "{{{{json (index .NetworkSettings.Networks \"{}_shop\").Aliases}}}}",
        app.name
    );
    assert!(look(&api.id, &shop).contains("\"api\""));
    let (rendering, green) = app.serve(Color::Green, 1).await;
    app.engine
        .set_live(&app.slot(Color::Green), &rendering, true)
        .await
        .expect("live");
    app.engine
        .set_live(&blue, &r0, false)
        .await
        .expect("not live");
    let before = calls_by(&tally, "green").await;
    eventually("green is called", || async {
        calls_by(&tally, "green").await > before + 20
    })
    .await;
    only_the_kept_connection_is_left(&app, &api.id).await;
    let r0_calls = calls_by(&tally, "plain").await;
    let exit = app.engine.stop(&api.id).await.expect("stop");
    assert_eq!(exit.code, Some(0));

    // Back to r0: it is started again and gets its name back.
    let back = app.engine.restart(&api.id).await.expect("restart");
    let at = format!("{}:8080", back.address.expect("an address").ip);
    eventually("r0 answers", || async {
        get(&at, "/healthz").await.is_ok()
    })
    .await;
    app.engine.set_live(&blue, &r0, true).await.expect("live");
    app.engine
        .set_live(&app.slot(Color::Green), &rendering, false)
        .await
        .expect("not live");
    eventually("r0 is called again", || async {
        calls_by(&tally, "plain").await > r0_calls + 20
    })
    .await;
    only_the_kept_connection_is_left(&app, &green.id).await;
    app.engine
        .clear(&app.slot(Color::Green), &[])
        .await
        .expect("clear");
    let end = json_of(&tally, "/calls").await;
    println!("calls through adoption and back: {end}");
    assert_eq!(end["failed"], failed, "{end}");

    // The app is taken away, r0 runs on under the names that plain Compose gave it.
    app.engine
        .set_live(&blue, &r0, false)
        .await
        .expect("not live");
    assert!(!look(&api.id, &shop).contains("\"api\""));
    let policy = "{{.HostConfig.RestartPolicy.Name}}";
    assert_eq!(look(&api.id, policy), "no");
    app.engine.forget(&app.name).await.expect("forget");
    assert_eq!(look(&api.id, policy), "unless-stopped");
    assert!(look(&api.id, &shop).contains("\"api\""));
    let before = calls_by(&tally, "plain").await;
    eventually("r0 is called under its own name", || async {
        calls_by(&tally, "plain").await > before + 20
    })
    .await;
}
