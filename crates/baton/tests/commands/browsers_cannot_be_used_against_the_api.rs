//! Another site in the user's browser (CSRF, DNS rebinding, frames), and requests that were made to
//! confuse: what each of them gets.

use crate::kit::Stage;
use crate::tokens_open_the_api::{send, status};

fn start() -> Stage {
    Stage::start_with(&[
        "--dashboard",
        "127.0.0.1:0",
        "--dashboard-host",
        "baton.example.com",
    ])
}

#[test]
fn another_site_reaches_nothing_even_with_a_token() {
    let stage = start();
    let address = stage.dashboard();
    let token = stage.token("admin");
    let ask = |verb: &str, host: &str, fields: &str| {
        let request = format!(
            "{verb} /v1/apps/nobody/pause HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{fields}Content-Length: 4\r\nConnection: close\r\n\r\nnull"
        );
        send(address, &request, true)
    };
    let own = format!("127.0.0.1:{}", address.port());
    // From the page itself, through another server, and from a command.
    for (host, fields) in [
        (
            own.as_str(),
            format!("Origin: http://{own}\r\nSec-Fetch-Site: same-origin\r\n"),
        ),
        (
            "baton.example.com",
            "Origin: https://baton.example.com\r\n".to_owned(),
        ),
        (own.as_str(), String::new()),
    ] {
        let answer = ask("POST", host, &fields);
        assert_eq!(status(&answer), 404, "{fields}: {answer}");
        assert!(answer.contains("there is no app"), "{answer}");
    }
    // Another site, another port of this machine, a sandboxed frame, an old browser that only tells where.
    for fields in [
        "Origin: https://evil.example\r\n",
        "Origin: http://127.0.0.1:3000\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
    ] {
        let answer = ask("POST", &own, fields);
        assert_eq!(status(&answer), 403, "{fields}: {answer}");
    }
    // A name that its owner made to point here.
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "baton.example.com@evil.example",
    ] {
        let answer = ask("POST", host, "");
        assert!(matches!(status(&answer), 400 | 421), "{host}: {answer}");
        assert!(!answer.contains("there is no app"), "{answer}");
    }
    // A question before a request of another site gets no leave.
    let answer = ask(
        "OPTIONS",
        &own,
        "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n",
    );
    assert!(
        !answer.to_lowercase().contains("access-control-allow"),
        "{answer}"
    );
    assert!(status(&answer) >= 400, "{answer}");
}

#[test]
fn every_answer_says_what_a_browser_may_do_with_it() {
    let stage = start();
    let address = stage.dashboard();
    for (path, code) in [
        ("/", 200),
        ("/page.js", 200),
        ("/v1/status", 401),
        ("/nowhere", 404),
    ] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = send(address, &request, true);
        assert_eq!(status(&answer), code, "{answer}");
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        let head = head.to_lowercase();
        for field in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "frame-ancestors 'none'",
            "x-frame-options: deny",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.contains(field), "{path} without {field}: {head}");
        }
        assert!(
            !head.contains("set-cookie") && !head.contains("unsafe"),
            "{head}"
        );
    }
    let page = send(
        address,
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        true,
    );
    for inline in ["<style", "onclick", "http://", "https://", " style="] {
        assert!(!page.contains(inline), "{inline} in the page");
    }
}

#[test]
fn paths_and_fields_carry_nothing_past_their_place() {
    let stage = start();
    let address = stage.dashboard();
    let token = stage.token("admin");
    for path in [
        "/v1/apps/..%2f..%2fetc%2fpasswd/releases",
        "/v1/apps/%2e%2e/releases",
        "/v1/apps/a%0d%0aX-Injected:%201/releases",
        "/v1/apps/%00/logs?tail=1&follow=false",
        "/../../etc/passwd",
        "/page.js/../../Cargo.toml",
        "//evil.example/",
        "/v1//status",
        "/v1/tokens/%27%20OR%201=1--",
        "/v1/live?after_ms=%0d%0aX-Injected:1",
    ] {
        for verb in ["GET", "DELETE", "POST"] {
            let request = format!(
                "{verb} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let answer = send(address, &request, true);
            assert!(
                matches!(status(&answer), 400..=405),
                "{verb} {path}: {answer}"
            );
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(!head.to_lowercase().contains("x-injected"), "{answer}");
            assert!(
                !body.contains("root:") && !body.contains("[package]"),
                "{answer}"
            );
        }
    }
    // Two tokens, two hosts, a folded field: none of them is guessed about.
    for fields in [
        format!("Host: localhost\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"),
        format!("Host: localhost\r\nAuthorization: Bearer {token}\r\nAuthorization: Bearer x\r\n"),
        format!("Host: localhost\r\nAuthorization: Bearer\r\n {token}\r\n"),
        format!("Host: localhost\r\nCookie: token={token}\r\n"),
    ] {
        let request = format!("GET /v1/status HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
        let answer = send(address, &request, true);
        assert!(matches!(status(&answer), 400 | 401), "{fields}: {answer}");
    }
    let inquiry = format!(
        "GET /v1/status?token={token} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(status(&send(address, &inquiry, true)), 401);
    // It still answers, and its tokens are all there.
    assert!(stage.ok(&["token", "list"]).out.contains("admin"));
}
