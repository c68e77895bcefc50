//! SockJS: the requests of one session are for one instance, since that is where it is.

use std::sync::Arc;

use crate::kit::{App, Front, Plan};

fn front(pinned: bool) -> (Front, App, App) {
    let (blue, green) = (App::saying("blue"), App::saying("green"));
    let front = Front::start(Plan::to(&[&blue.instance]));
    for session in ["abc", "def"] {
        let target = format!("/chat/123/{session}/xhr_streaming");
        assert_eq!(front.get(&target).text(), "blue");
    }
    let mut plan = Plan::to(&[&green.instance]);
    if pinned {
        blue.instance.pin();
        plan.pinned = vec![Arc::clone(&blue.instance)];
    }
    front.publish(plan);
    blue.instance.close();
    (front, blue, green)
}

#[test]
fn a_session_goes_on_where_it_began() {
    let (front, blue, _green) = front(true);
    assert_eq!(front.get("/chat/123/abc/xhr_send?t=1").text(), "blue");
    assert_eq!(front.get("/chat/123/def/eventsource").text(), "blue");
    assert_eq!(front.get("/chat/123/new/xhr").text(), "green");
    assert_eq!(front.get("/chat/info").text(), "green");
    assert_eq!(front.get("/chat/123/abc").text(), "green");
    // They are not what the drain of sessions waits for.
    assert_eq!(front.proxy.sessions_left(&blue.instance), 0);
    front.proxy.unpin(&blue.instance);
    assert_eq!(front.get("/chat/123/abc/xhr_send").text(), "green");
}

#[test]
fn without_its_instance_it_goes_where_all_go() {
    let (front, _blue, _green) = front(false);
    assert_eq!(front.get("/chat/123/abc/xhr_send").text(), "green");
}
