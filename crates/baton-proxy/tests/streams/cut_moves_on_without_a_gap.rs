//! `cut`: the client follows the requests; the app replays what it missed.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use baton_proxy::StreamMode;

use crate::kit::{Front, eventually};
use crate::source::{EVENTS, Listener, Source, plan};

const CUT: StreamMode = StreamMode::Cut;

/// Apps that share a history: each begins after the id that the client presents.
fn replaying(history: &Arc<Mutex<Vec<u32>>>) -> Source {
    let history = Arc::clone(history);
    Source::greeting(move |request| {
        let last = request
            .field("last-event-id")
            .map_or(0, |id| id.parse().unwrap());
        let mut greeting = EVENTS.to_owned();
        for id in history.lock().unwrap().iter().filter(|id| **id > last) {
            greeting.push_str(&chunk(*id));
        }
        greeting
    })
}

fn chunk(id: u32) -> String {
    let event = event(id);
    format!("{:x}\r\n{event}\r\n", event.len())
}

fn event(id: u32) -> String {
    format!("id: {id}\ndata: {id}\n\n")
}

#[test]
fn cut_moves_on_without_a_gap() {
    let history = Arc::<Mutex<Vec<u32>>>::default();
    let (blue, green) = (replaying(&history), replaying(&history));
    let say = |id: u32| {
        history.lock().unwrap().push(id);
        blue.emit(&event(id));
        green.emit(&event(id));
    };
    let front = Front::start(plan(CUT, &[&blue], &[&blue]));
    let mut client = Listener::open(&front);
    say(1);
    assert_eq!(client.data(), "1");
    // Attaching concerns `union` alone.
    front.publish(plan(CUT, &[&blue], &[&blue, &green]));
    say(2);
    assert_eq!(client.data(), "2");
    assert_eq!(green.requests(), 0);

    front.publish(plan(CUT, &[&green], &[&blue, &green]));
    say(3);
    assert_eq!(
        green
            .request(0)
            .field("last-event-id")
            .map(|id| id.parse::<u32>().unwrap() >= 2),
        Some(true)
    );
    say(4);
    eventually("blue is left", || blue.instance().streams() == 0);
    say(5);
    for id in 3..=5 {
        assert_eq!(client.data(), id.to_string());
    }
    assert!(client.is_quiet(), "nothing twice");
    let counters = &front.counters.streams;
    assert_eq!(counters.handed_over.load(Relaxed), 1);
    assert_eq!((blue.requests(), green.requests()), (1, 1));
}

#[test]
fn an_end_in_between_is_the_end() {
    let blue = Source::start();
    let front = Front::start(plan(CUT, &[&blue], &[&blue]));
    let mut client = Listener::open(&front);
    blue.emit("data: last\n\n");
    assert_eq!(client.data(), "last");
    blue.complete();
    assert_eq!(client.next(), None);
    assert_eq!(blue.requests(), 1);
}

#[test]
fn going_back_before_the_new_color_answers_changes_nothing() {
    let (blue, green) = (Source::start(), Source::greeting(|_| String::new()));
    let front = Front::start(plan(CUT, &[&blue], &[&blue]));
    let mut client = Listener::open(&front);
    front.publish(plan(CUT, &[&green], &[&blue, &green]));
    green.await_requests(1);
    blue.emit("data: still blue\n\n");
    assert_eq!(client.data(), "still blue");
    front.publish(plan(CUT, &[&blue], &[&blue]));
    eventually("green is left", || green.instance().streams() == 0);
    blue.emit("data: blue again\n\n");
    assert_eq!(client.data(), "blue again");
}
