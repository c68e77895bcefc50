//! What the process engine promises, on real processes.
//!
//! This program has its own `main`, because it is also the shim of the instances it starts
//! (`__shim`), the daemon that gets killed (`__daemon`, `__once`), the daemon in
//! other circumstances (`__shielded`) and the app (`__app`).

mod adoption;
mod app;
mod lives;
mod memory;
mod once;
mod output;
mod refusals;
mod replicas;
mod shields;
mod stops;
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("__shim") => return baton_engine::process::shim::main(),
        Some("__daemon") => return adoption::daemon(),
        Some("__once") => return once::daemon(),
        Some("__shielded") => return shields::daemon(),
        Some("__app") => return app::main(),
        _ => {}
    }
    let arguments = Arguments::from_args();
    let tests = [
        lives::tests(),
        stops::tests(),
        output::tests(),
        adoption::tests(),
        memory::tests(),
        once::tests(),
        refusals::tests(),
        replicas::tests(),
        shields::tests(),
    ];
    let tests: Vec<Trial> = tests.into_iter().flatten().collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}
