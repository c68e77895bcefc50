//! hyper's server reads what we read.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use baton_proxy::h1::{FieldStore, HeadLimits, Parsed, Version, parse_request};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use proptest::test_runner::TestCaseError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Body, Fields, Tally, fields, grammar, grouped, our_body, runner};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    method: String,
    target: String,
    old: bool,
    fields: Fields,
    /// None: refused or cut short.
    body: Option<Body>,
}

/// The requests that we take from a connection that brings `bytes` and then ends.
fn ours(mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        let mut store = FieldStore::new();
        let Ok(Parsed::Complete(head)) = parse_request(bytes, &mut store, &HeadLimits::default())
        else {
            return seen;
        };
        let rest = &bytes[head.length..];
        let body = our_body(head.body, rest);
        let pairs = head
            .fields
            .iter()
            .map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()));
        let body = body.ok().flatten();
        seen.push(Seen {
            method: head.method.to_owned(),
            target: head.target.to_owned(),
            old: head.version == Version::Http10,
            fields: grouped(pairs.collect()),
            body: body.as_ref().map(|(body, _)| body.clone()),
        });
        match body {
            Some((_, length)) if head.keep_alive => bytes = &rest[length..],
            _ => return seen,
        }
    }
}

async fn see(request: http::Request<Incoming>, seen: Rc<RefCell<Vec<Seen>>>) {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let at = seen.borrow().len();
    seen.borrow_mut().push(Seen {
        method: head.method.to_string(),
        target: path.to_owned(),
        old: head.version == http::Version::HTTP_10,
        fields: grouped(fields(&head.headers)),
        body: None,
    });
    if let Ok(whole) = body.collect().await {
        let trailers = whole.trailers().map(fields).unwrap_or_default();
        let data = whole.to_bytes().to_vec();
        seen.borrow_mut()[at].body = Some(Body {
            data,
            trailers: grouped(trailers),
        });
    }
}

/// The same as hyper's server has it.
async fn theirs(bytes: &[u8]) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (mut client, server) = tokio::io::duplex(256 * 1024);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let service = hyper::service::service_fn(|request| {
        let seen = Rc::clone(&seen);
        async move {
            see(request, seen).await;
            Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .header_read_timeout(None)
        .half_close(true)
        .serve_connection(TokioIo::new(server), service);
    // An error is a verdict too; it shows as a request that is missing.
    let _ = connection.await;
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).await.unwrap();
    seen.take()
}

#[test]
fn what_hyper_refuses_we_refuse_and_what_both_take_is_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let tally = Tally::default();
    let verdict = runner(4000).run(&grammar::requests(), |bytes| {
        let (ours, theirs) = (ours(&bytes), runtime.block_on(theirs(&bytes)));
        tally.count(!ours.is_empty(), !theirs.is_empty());
        for (index, request) in ours.iter().enumerate() {
            let Some(their) = theirs.get(index) else {
                return Err(TestCaseError::fail(format!(
                    "hyper refuses what we take: {request:?}\n{}",
                    bytes.escape_ascii()
                )));
            };
            let mut request = request.clone();
            if request.body.is_none() {
                // Refused or not there whole: hyper may think otherwise.
                request.body.clone_from(&their.body);
            }
            if request.method == "OPTIONS" && request.target == "*" && their.target == "/" {
                // `OPTIONS http://a` asks for `*` (RFC 9112 §3.2.4); hyper shows it like `http://a/`.
                request.target.clone_from(&their.target);
            }
            if request != *their {
                return Err(TestCaseError::fail(format!(
                    "we: {request:?}\nhyper: {their:?}\n{}",
                    bytes.escape_ascii()
                )));
            }
        }
        Ok(())
    });
    if let Err(failure) = verdict {
        panic!("{failure}");
    }
    tally.assert_telling();
}
