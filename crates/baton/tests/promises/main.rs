//! What Baton promises its users, one module a promise, on the real parts: the real binary, a real
//! Docker Engine with Compose, real processes, a real nginx. One test binary, so that it is linked once.
//!
//! Every test makes its own daemon, folders and app names, takes away what it made, and prints the
//! daemon's log when it fails.

// A test that cannot go on says so by ending.
#![allow(clippy::unwrap_used)]

mod kit;

mod apps_share_a_machine;
mod behind_nginx;
mod broken_release_never_serves;
mod browsers_stay_connected;
mod canary_users_keep_their_release;
mod certificates_are_got;
mod crash_after_the_switch_is_taken_back;
mod daemon_killed_at_every_step;
mod disk_without_room_is_refused;
mod engine_restart_is_not_noticed;
mod error_page_is_the_users;
mod every_event_arrives_once;
mod every_order_is_handled;
mod every_request_is_written_down;
mod example_orders_works;
mod existing_compose_file_works;
mod fifty_deploys_lose_nothing;
mod first_deploy_walk;
mod hooks_run_around_a_deploy;
mod hosts_stand_for_another;
mod images_come_without_a_registry;
mod in_flight_request_is_answered_by_old_color;
mod internal_callers_follow_the_switch;
mod jobs_tick_in_one_color;
mod killed_instance_comes_back;
mod maintenance_answers_with_a_page;
mod messages_decide_over_the_old_color;
mod migrations_run_once_a_release;
mod nginx_is_imported;
mod nginx_keeps_its_own;
mod nginx_switches;
mod numbers_are_scraped;
mod observe_says_which_mode_fits;
mod old_images_are_pruned;
mod one_deploy_at_a_time;
mod one_gib_is_enough;
mod open_streams_hold_no_deploy;
mod paused_app_holds_requests;
mod pipeline_recipes_work;
mod plain_compose_app_is_adopted;
mod post_event_stream_is_sent_once;
mod preview_lives_beside_the_live_color;
mod restart_is_no_404;
mod rollback_needs_no_file;
mod service_manager_is_heard;
mod sessions_stay_on_their_release;
mod status_page_shows_and_steers;
mod stop_first_holds_requests;
mod strategies_meet_faults;
mod the_team_is_told;
mod tls_app_is_redirected_to;
mod upgrade_changes_nothing_when_it_fails;
mod upgrade_is_not_noticed;
mod warm_color_is_ready;
mod websocket_clients_come_back;
mod workers_change_over_at_the_switch;
