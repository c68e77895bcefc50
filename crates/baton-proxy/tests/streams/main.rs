//! What managed event streams promise, with raw sockets on both sides of a running proxy: a test says
//! which bytes an app emits, and when.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod hyper_clients;
#[path = "../exchange/kit.rs"]
#[allow(dead_code)]
mod kit;
mod source;

mod a_switch_joins_every_stream_once;
mod cut_moves_on_without_a_gap;
mod every_protocol_has_its_streams;
mod late_headers_are_waited_for;
mod oversize_events_pass_raw;
mod posts_are_never_repeated;
mod reconnect_ends_at_a_boundary;
mod slow_clients_hold_the_app_back;
mod streams_follow_their_side_of_a_canary;
mod streams_survive_their_instance;
mod streams_wait_for_the_next_instance;
mod twenty_switches_lose_no_event;
mod union_joins_both_colors;
mod what_cannot_be_joined_comes_back;
