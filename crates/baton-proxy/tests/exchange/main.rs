//! What an exchange promises, each promise with raw sockets on both sides of a running proxy.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod kit;

mod a_page_stands_for_the_app;
mod a_request_is_forwarded;
mod answers_are_checked;
mod answers_keep_their_framing;
mod bodies_are_streamed;
mod closed_pooled_connection_is_survived;
mod early_answer_ends_the_request;
mod errors_and_latency_are_counted;
mod event_streams_are_never_buffered;
mod h2c_instances_serve_http1_clients;
mod in_flight_request_is_answered_by_old_instance;
mod interim_answers_are_passed_on;
mod keep_alive_survives_switch;
mod killed_instance_fails_no_get;
mod limits_are_kept;
mod paused_holds;
mod plain_requests_are_redirected;
mod refused_instance_holds;
mod shields_let_in_whom_they_name;
mod smuggling_is_refused;
mod switches_under_load_lose_nothing;
mod trailers_pass;
mod upgrade_is_tunnelled;
