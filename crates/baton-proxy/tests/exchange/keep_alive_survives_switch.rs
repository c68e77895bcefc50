//! Clients keep their connections, idle or busy, over any number of switches.

use std::sync::atomic::Ordering;

use crate::kit::{App, Front, Plan};

#[test]
fn keep_alive_survives_switch() {
    let apps = [App::saying("blue"), App::saying("green")];
    let front = Front::start(Plan::to(&[&apps[0].instance]));
    let mut clients: Vec<_> = (0..8).map(|_| front.client()).collect();
    for round in 0..20 {
        let (live, old) = (&apps[round % 2], &apps[(round + 1) % 2]);
        live.instance.open();
        front.publish(Plan::to(&[&live.instance]));
        old.instance.close();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
            let said = client.response();
            assert_eq!(said.text(), ["blue", "green"][round % 2]);
            assert_eq!(said.field("connection"), None);
        }
    }
    assert_eq!(front.counters.closed_keep_alive.load(Ordering::Relaxed), 0);
    assert_eq!(front.counters.failed.load(Ordering::Relaxed), 0);
    assert_eq!(front.counters.requests.load(Ordering::Relaxed), 160);
}

#[test]
fn requests_in_a_row_are_answered_in_order() {
    let app = App::start(|mut wire| {
        while let Some(head) = wire.try_head() {
            let body = wire.read_exact(head.length());
            let target = head.head.split(' ').nth(1).unwrap().to_owned();
            wire.send(ok(&format!(
                "{target} {}",
                String::from_utf8(body).unwrap()
            )));
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n\
         POST /2 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc\
         POST /3 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /4 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n\
         GET /5 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    );
    for wanted in ["/1 ", "/2 abc"] {
        assert_eq!(client.response().text(), wanted);
    }
    // The app of this test does not read chunked bodies; the empty one is `0\r\n\r\n` to it.
    assert_eq!(client.response().text(), "/3 ");
    assert!(front.counters.requests.load(Ordering::Relaxed) >= 3);
}

use crate::kit::ok;
