//! How a life of the app goes wrong.

use std::cell::OnceCell;
use std::hint::black_box;
use std::process;
use std::thread;
use std::time::Duration;

use http::Request;
use rustix::process::{Signal, getpid, kill_process};
use tokio::time::{Instant, sleep};

use crate::dice::Dice;
use crate::settings::Faults;

/// What an instance does that it should not, once it listens.
#[derive(Debug)]
pub(crate) struct Fate {
    faults: Faults,
    booted: Instant,
    first_served: OnceCell<Instant>,
    dice: Dice,
}

impl Fate {
    /// The boot ends now.
    pub(crate) fn new(faults: Faults) -> Fate {
        Fate {
            faults,
            booted: Instant::now(),
            first_served: OnceCell::new(),
            dice: Dice::new(),
        }
    }

    /// A user's request has its answer; the first one starts the clocks.
    pub(crate) fn served(&self) {
        if self.first_served.set(Instant::now()).is_err() {
            return;
        }
        if let Some((after, code)) = self.faults.crash_after_served {
            tokio::spawn(async move {
                sleep(after).await;
                eprintln!("fatal: told to crash {after:?} after the first request");
                process::exit(code);
            });
        }
        if let Some(after) = self.faults.oom_after_served {
            let cap = self.faults.oom_cap_mb;
            // A thread of its own: an app that leaks goes on to answer.
            thread::spawn(move || {
                thread::sleep(after);
                run_out_of_memory(cap);
            });
        }
    }

    /// Whether this request is one of the share that fails.
    pub(crate) fn fails_now(&self) -> bool {
        let since_served = self.first_served.get().map(Instant::elapsed);
        fails(&self.faults, since_served) && self.dice.next() % 100 < self.faults.fail_percent
    }

    pub(crate) fn is_ill_now(&self) -> bool {
        is_ill(&self.faults, self.booted.elapsed())
    }
}

/// Whether a share of the requests fails at this time.
fn fails(faults: &Faults, since_served: Option<Duration>) -> bool {
    match faults.fail_after_served {
        None => true,
        Some(after) => since_served.is_some_and(|since| since >= after),
    }
}

fn is_ill(faults: &Faults, since_boot: Duration) -> bool {
    faults
        .health_bad
        .is_some_and(|(after, lasts)| since_boot >= after && since_boot - after < lasts)
}

/// Not a probe and not the warm-up: those come from Baton itself.
pub(crate) fn is_of_a_user<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let agent = request.headers().get("user-agent");
    path != "/healthz"
        && !path.starts_with("/internal/")
        && agent.is_none_or(|agent| !agent.as_bytes().starts_with(b"baton"))
}

/// Takes so many MiB and keeps them.
pub(crate) fn hold_memory(megabytes: u64) {
    for _ in 0..megabytes {
        // Written to, so that the kernel really gives the pages; leaked, so that it stays.
        Box::leak(vec![1_u8; 1 << 20].into_boxed_slice());
    }
}

/// Takes memory as fast as it can until the kernel kills it, and ends as if it had been at `cap` MiB.
pub(crate) fn run_out_of_memory(cap: u64) -> ! {
    eprintln!("told to run out of memory, at {cap} MiB at the latest");
    hold_memory(cap);
    eprintln!("fatal: nobody minded {cap} MiB (OOM_CAP_MB)");
    let _ = kill_process(getpid(), Signal::KILL);
    // The first process of a container cannot kill itself; its exit code can say the same.
    process::exit(128 + 9)
}

/// Starts the threads that burn CPU; they end by themselves after the time that is returned.
pub(crate) fn burn(faults: &Faults) -> Duration {
    let Some((time, threads)) = faults.burn else {
        return Duration::ZERO;
    };
    let end = Instant::now() + time;
    for _ in 0..threads {
        thread::spawn(move || {
            let mut sum = 0_u64;
            while Instant::now() < end {
                for number in 0..10_000_u64 {
                    sum = black_box(sum.wrapping_mul(31).wrapping_add(number));
                }
            }
        });
    }
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn health_is_bad_between_two_moments() {
        let faults = Faults {
            health_bad: Some((ms(100), ms(50))),
            ..Faults::default()
        };
        let ill: Vec<u64> = (0..300).filter(|at| is_ill(&faults, ms(*at))).collect();
        assert_eq!(ill, (100..150).collect::<Vec<_>>());
        assert!(!is_ill(&Faults::default(), ms(1_000)));
    }

    #[test]
    fn without_an_end_health_stays_bad() {
        let faults = Faults {
            health_bad: Some((ms(100), Duration::MAX)),
            ..Faults::default()
        };
        assert!(!is_ill(&faults, ms(99)));
        assert!(is_ill(&faults, ms(1_000_000)));
    }

    #[test]
    fn failures_begin_after_the_first_served_request() {
        let faults = Faults {
            fail_after_served: Some(ms(100)),
            ..Faults::default()
        };
        assert!(!fails(&faults, None), "nothing was served");
        assert!(!fails(&faults, Some(ms(99))));
        assert!(fails(&faults, Some(ms(100))));
        assert!(fails(&Faults::default(), None), "no delay was asked for");
    }

    #[test]
    fn about_the_asked_share_fails() {
        let fate = Fate::new(Faults {
            fail_percent: 20,
            ..Faults::default()
        });
        let failed = (0..10_000).filter(|_| fate.fails_now()).count();
        // Six standard deviations (40) to each side.
        assert!((1_760..=2_240).contains(&failed), "{failed} of 10000");
    }

    #[test]
    fn probes_and_the_warm_up_are_not_of_a_user() {
        let request = |path: &str, agent: Option<&str>| {
            let mut request = Request::get(path);
            if let Some(agent) = agent {
                request = request.header("user-agent", agent);
            }
            is_of_a_user(&request.body(()).unwrap())
        };
        assert!(request("/", None) && request("/who?env=A", Some("curl/8")));
        assert!(!request("/healthz", None) && !request("/internal/active", None));
        assert!(!request("/", Some("baton")));
    }
}
