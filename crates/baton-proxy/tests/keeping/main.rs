//! What a client keeps through a switch, each file named after its promise: WebSockets that are told to
//! come back, sessions that stay where they are.
#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[path = "../exchange/kit.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "it is shared with the tests of exchanges"
)]
mod kit;

mod canary_users_keep_their_release;
mod sessions_stay_with_their_instance;
mod sockjs_stays_by_its_path;
mod websockets_are_told_to_come_back;
mod websockets_of_a_library_lose_nothing;
