//! Listeners, TLS, routing and HTTP/2 against a real app, each file named after its promise. One program,
//! because linking is what takes the time.
#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod h2_bodies_stream_both_ways;
mod h2_clients_that_are_gone_are_noticed;
mod h2_connection_is_for_the_hosts_of_its_certificate;
mod h2_drains_fail_no_request;
mod h2_floods_end_the_connection;
mod h2_requests_are_checked;
mod h2_requests_meet_shields_and_pages;
mod h2_users_keep_their_canary;
mod listener_limits_connections_per_client;
mod listener_names_what_cannot_be_bound;
mod listener_shutdown_finishes_what_is_in_flight;
mod listener_takes_ipv4_and_ipv6_on_one_port;
mod origin;
mod routing_finds_the_most_specific_route;
mod tls_answers_reach_slow_readers_whole;
mod tls_certificate_files_are_checked;
mod tls_certificate_is_chosen_by_name;
