//! The app that every test deploys, and the load that is put on it.
//!
//! | module | does |
//! | --- | --- |
//! | [`app`] | the HTTP app: health that can be slow or fail, slow requests, bodies, SSE, WebSocket |
//! | `faults` | how it goes wrong: crashes, errors, memory, CPU |
//! | `active` | `/internal/active`: a scheduled job, started and stopped |
//! | [`ticks`] | what that job writes, and whether two colors ever ran it at once |
//! | [`migrate`] | the command of `x-baton.migrate` |
//! | `scene` | event streams from the memory of one process, orders over Redis, sessions, WebSocket rooms |
//! | [`settings`] | what its environment variables ask for |
//! | [`call`] | calls another service by name without pause and counts the failures |
//! | [`worker`] | a service without traffic |
//! | [`chores`] | processes with children, with an end, with a hunger for CPU or memory |
//! | [`load`] | keep-alive HTTP/1.1 and HTTP/2 load with streams, and visitors with an identity, counted strictly |
//! | [`image`] | the `FROM scratch` image |
#![forbid(unsafe_code)]

mod active;
pub mod app;
pub mod call;
pub mod chores;
mod dice;
mod faults;
pub mod image;
pub mod load;
pub mod migrate;
mod routes;
mod scene;
pub mod settings;
pub mod ticks;
pub mod worker;

use std::process::ExitCode;

/// Runs `testapp ARGS…` (without the program's name): `serve` (default), `call URL`, `worker`,
/// `healthcheck URL`, `migrate`, `parent`, `burn`, `hog`, `say LINES CODE`.
pub fn run(args: &[String]) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("testapp: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [] | ["serve"] => runtime.block_on(app::serve(settings::Settings::from_env())),
        ["worker"] => runtime.block_on(worker::run()),
        ["call", url] => runtime.block_on(call::run(url)),
        ["healthcheck", url] => runtime.block_on(call::healthcheck(url)),
        ["migrate"] => match runtime.block_on(migrate::run(&settings::Migration::from_env())) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        ["parent"] => runtime.block_on(chores::parent()),
        ["burn"] => chores::burn(),
        ["hog"] => chores::hog(),
        ["say", lines, code] => {
            return chores::say(lines.parse().unwrap_or(0), code.parse().unwrap_or(0));
        }
        other => {
            eprintln!("testapp: unknown arguments {other:?}; see `run` in its lib.rs");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testapp: {error}");
            ExitCode::FAILURE
        }
    }
}
