//! What the control plane promises, each promise a module, on an engine and a router in memory.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

mod a_broken_release_never_serves;
mod a_crash_loses_nothing;
mod a_crash_of_any_strategy_loses_nothing;
mod a_deploy_goes_to_the_other_color;
mod a_rollback_brings_back_what_was;
mod canary_is_taken_back_when_it_is_worse;
mod cancel_takes_a_deploy_back;
mod nothing_that_serves_is_stopped;
mod old_and_new_never_run_at_once;
mod one_deploy_of_an_app_at_a_time;
mod plain_containers_are_adopted;
mod preview_lives_in_the_idle_color;
mod rolling_never_serves_with_fewer;
mod streams_are_handed_over;
mod the_live_color_stays_up;
mod watch_takes_back_what_is_worse;
mod what_a_person_sees;
mod what_runs_around_a_deploy;
