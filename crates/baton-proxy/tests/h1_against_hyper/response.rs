//! hyper's client reads what we read.

use baton_proxy::h1::{FieldStore, HeadLimits, Parsed, Version, parse_response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{Body, Fields, Tally, fields, grammar, grouped, our_body, runner};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    status: u16,
    old: bool,
    fields: Fields,
    /// None: refused or cut short.
    body: Option<Body>,
}

/// The final response that we take from a connection that brings `bytes` and then ends.
fn ours(mut bytes: &[u8], method: &str) -> Option<Seen> {
    loop {
        let mut store = FieldStore::new();
        let parsed = parse_response(bytes, &mut store, &HeadLimits::default(), method);
        let Ok(Parsed::Complete(head)) = parsed else {
            return None;
        };
        let rest = &bytes[head.length..];
        if (100..200).contains(&head.status) && head.status != 101 {
            bytes = rest;
            continue;
        }
        let pairs = head
            .fields
            .iter()
            .map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()));
        return Some(Seen {
            status: head.status,
            old: head.version == Version::Http10,
            fields: grouped(pairs.collect()),
            body: our_body(head.body, rest)
                .ok()
                .flatten()
                .map(|(body, _)| body),
        });
    }
}

/// The same as hyper's client has it.
async fn theirs(bytes: &[u8], method: &str) -> Option<Seen> {
    let (client, server) = tokio::io::duplex(256 * 1024);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client))
        .await
        .ok()?;
    let request = http::Request::builder()
        .method(method)
        .uri("/")
        .header("host", "a");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let exchange = async {
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let mut seen = Seen {
            status: head.status.as_u16(),
            old: head.version == http::Version::HTTP_10,
            fields: grouped(fields(&head.headers)),
            body: None,
        };
        if let Ok(whole) = body.collect().await {
            let trailers = whole.trailers().map(fields).unwrap_or_default();
            seen.body = Some(Body {
                data: whole.to_bytes().to_vec(),
                trailers: grouped(trailers),
            });
        }
        Some(seen)
    };
    let (seen, _, ()) = tokio::join!(exchange, connection, answer(server, bytes));
    seen
}

/// Waits for the request: hyper takes bytes that come before it for a mistake.
async fn answer(mut server: DuplexStream, bytes: &[u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if server.read_buf(&mut request).await.unwrap() == 0 {
            return;
        }
    }
    // A client that has refused the first bytes is gone.
    let _ = server.write_all(bytes).await;
    let _ = server.shutdown().await;
}

#[test]
fn what_hyper_refuses_we_refuse_and_what_both_take_is_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let tally = Tally::default();
    let methods = prop::sample::select(&["GET", "GET", "POST", "HEAD"][..]);
    let verdict = runner(4000).run(&(grammar::responses(), methods), |(bytes, method)| {
        let (ours, theirs) = (
            ours(&bytes, method),
            runtime.block_on(theirs(&bytes, method)),
        );
        tally.count(ours.is_some(), theirs.is_some());
        let Some(mut ours) = ours else { return Ok(()) };
        let text = bytes.escape_ascii();
        let Some(theirs) = theirs else {
            return Err(TestCaseError::fail(format!(
                "hyper refuses what we take: {ours:?}\n{method}: {text}"
            )));
        };
        if ours.body.is_none() {
            ours.body.clone_from(&theirs.body);
        }
        if ours != theirs {
            return Err(TestCaseError::fail(format!(
                "we: {ours:?}\nhyper: {theirs:?}\n{method}: {text}"
            )));
        }
        Ok(())
    });
    if let Err(failure) = verdict {
        panic!("{failure}");
    }
    tally.assert_telling();
}
