//! Over TCP each route asks for a token of its scope; what is kept of a token opens nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::kit::{PATIENCE, Stage, wait_for};

const LOOPBACK: [&str; 2] = ["--dashboard", "127.0.0.1:0"];
const SCOPES: [&str; 3] = ["read", "deploy", "admin"];

/// Sends one request, reads until the end or until the head is there.
pub(crate) fn send(address: SocketAddr, request: &str, whole: bool) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while whole || !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).unwrap() {
            0 => break,
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) fn status(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1).unwrap_or_default();
    code.parse()
        .unwrap_or_else(|_| panic!("no answer: {answer:?}"))
}

/// The status that a request with this token gets.
fn ask(address: SocketAddr, verb: &str, path: &str, token: Option<&str>) -> u16 {
    let field = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!(
        "{verb} {path} HTTP/1.1\r\nHost: localhost\r\n{}Content-Length: 0\r\nConnection: close\r\n\r\n",
        field.unwrap_or_default()
    );
    status(&send(address, &request, false))
}

#[test]
fn every_route_asks_for_a_token_of_its_scope() {
    let stage = Stage::start_with(&LOOPBACK);
    let address = stage.dashboard();
    let tokens = SCOPES.map(|scope| stage.token(scope));
    let document: Value = serde_json::from_str(&stage.ok(&["openapi"]).out).unwrap();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let sent = path
            .replace("{app}", "nobody")
            .replace("{id}", "999999")
            .replace("{which}", "nobody");
        for (verb, operation) in operations.as_object().unwrap() {
            let verb = verb.to_uppercase();
            let status = |token: Option<&str>| ask(address, &verb, &sent, token);
            let Some(scope) = operation["x-scope"].as_str() else {
                assert_eq!(status(None), 200, "{verb} {path}");
                asked += 1;
                continue;
            };
            assert_eq!(status(None), 401, "{verb} {path} without a token");
            assert_eq!(status(Some("baton_nobody")), 401, "{verb} {path}");
            let needed = SCOPES.iter().position(|known| *known == scope).unwrap();
            for (held, token) in tokens.iter().enumerate() {
                let code = status(Some(token));
                let what = format!("{verb} {path} for {scope} with {}: {code}", SCOPES[held]);
                if held < needed {
                    assert_eq!(code, 403, "{what}");
                } else {
                    // What is asked for does not exist, but it was asked.
                    assert!(matches!(code, 200 | 400 | 404), "{what}");
                }
            }
            asked += 5;
        }
    }
    println!("{asked} requests over all routes and tokens");
    assert!(asked > 120, "{asked}");
}

#[test]
fn what_is_kept_of_a_token_opens_nothing_and_revoking_ends_it() {
    let mut stage = Stage::start_with(&LOOPBACK);
    let address = stage.dashboard();
    let made = stage.ok(&[
        "token", "create", "--scope", "read", "--name", "screen", "--json",
    ]);
    let token = made.result()["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("baton_") && token.len() == 49, "{token}");
    assert_eq!(ask(address, "GET", "/v1/status", Some(&token)), 200);
    let twice = stage.baton(&["token", "create", "--scope", "read", "--name", "screen"]);
    assert_eq!(twice.code, 2, "{twice:?}");
    let listed = stage.ok(&["token", "list", "--json"]);
    assert!(!listed.out.contains(&token), "{}", listed.out);
    assert_eq!(listed.result()["tokens"][0]["name"], "screen");

    // Neither the files nor the log have it; after a restart it opens the API all the same.
    stage.stop_daemon();
    for file in std::fs::read_dir(stage.folder().join("data")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes
                .windows(token.len())
                .any(|part| part == token.as_bytes());
            assert!(!found, "the token is in {}", path.display());
        }
    }
    assert!(!stage.log().contains(&token));
    stage.start_daemon();
    let address = stage.dashboard();
    assert_eq!(ask(address, "GET", "/v1/status", Some(&token)), 200);

    // A stream that is open ends with its token.
    let watching = token.clone();
    let stream = std::thread::spawn(move || {
        let request = format!(
            "GET /v1/live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {watching}\r\nConnection: close\r\n\r\n"
        );
        send(address, &request, true)
    });
    wait_for("the stream to be open", || {
        let listed = stage.ok(&["token", "list", "--json"]).result();
        (!listed["tokens"][0]["last_used_at"].is_null()).then_some(())
    });
    stage.ok(&["token", "revoke", "screen"]);
    assert_eq!(ask(address, "GET", "/v1/status", Some(&token)), 401);
    let heard = stream.join().unwrap();
    assert!(matches!(status(&heard), 200 | 401), "{heard}");
    let gone = stage.baton(&["token", "revoke", "screen"]);
    assert_eq!(gone.code, 2, "{gone:?}");
    let events = stage.ok(&["events"]).out;
    assert!(
        events.contains("was made") && events.contains("was revoked"),
        "{events}"
    );
}

#[test]
fn a_token_ends_with_its_time() {
    let stage = Stage::start_with(&LOOPBACK);
    let address = stage.dashboard();
    let made = stage.ok(&["token", "create", "--scope", "read", "--expires", "2s"]);
    let token = made.out.trim().to_owned();
    let request = format!(
        "GET /v1/live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    // Ends by itself, whether it began before or after.
    send(address, &request, true);
    wait_for("the token to expire", || {
        (ask(address, "GET", "/v1/status", Some(&token)) == 401).then_some(())
    });
    assert!(stage.ok(&["token", "list"]).out.contains("expired"));
    let past = stage.baton(&["token", "create", "--scope", "root"]);
    assert_eq!(past.code, 2, "{past:?}");
    assert!(past.err.contains("read, deploy or admin"), "{past:?}");
}
