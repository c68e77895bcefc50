//! The commands as a user meets them: the real binary, a real daemon, real processes. What is promised
//! of traffic stands in `promises`; here it is exit codes, JSON, and words.

// A test that cannot go on says so by ending.
#![allow(clippy::unwrap_used)]

mod kit;

mod broken_release_exits_3_and_says_why;
mod browsers_cannot_be_used_against_the_api;
mod check_names_the_mistake;
mod command_line_may_go_away;
mod daemon_starts_once_and_says_what_is_wrong;
mod demo_counts_no_failure;
mod deploy_looks_and_goes_back;
mod first_x_baton_is_written;
mod images_are_fetched_by_the_command;
mod machine_is_made_ready;
mod one_deploy_holds_the_lock;
mod remote_deploys_need_no_ssh;
mod secrets_are_not_shown;
mod tokens_open_the_api;
mod unknown_commands_are_refused;
