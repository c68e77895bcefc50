//! Keep-alive HTTP/1.1 and HTTP/2 load with open streams, counted strictly: a request that does not
//! end with its whole, right answer has failed, and a connection that the other side closes is
//! counted.
//!
//! Runs on threads of its own, so that a test may block meanwhile.

mod client;
mod latency;
mod posts;
mod report;
mod visitors;
mod watch;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub use crate::scene::event::Told;
pub use latency::{FIRST_PHASE, Latency};
pub use posts::{Accepted, Kind, PostPlan, Posts};
pub use report::Report;
use report::Tally;
pub use visitors::{Stay, Trail, VisitPlan, Visitor, Visitors, Visits};
pub use watch::{Heard, Watch, WatchPlan};

/// What to put on a server.
#[derive(Debug, Clone)]
pub struct Plan {
    pub address: SocketAddr,
    /// Host that is asked for (and, with TLS, the server's name).
    pub host: String,
    /// PEM of the certificate authority; None: plain. HTTP/2 without it is h2c.
    pub tls: Option<String>,
    /// HTTP/1.1 connections, each with one request after the other.
    pub http1: usize,
    /// HTTP/2 connections, each with `streams_per_http2` requests at a time.
    pub http2: usize,
    pub streams_per_http2: usize,
    /// Event streams that are kept open, over HTTP/1.1.
    pub event_streams: usize,
    pub mix: Mix,
    /// Between two requests of one connection.
    pub pause: Duration,
    /// Worker threads; one is enough for a thousand connections with a pause.
    pub threads: usize,
}

/// Which requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Every so many requests of a connection takes two seconds; 0: none.
    pub slow_every: u64,
    /// Every so many requests moves `big_bytes` up and as much down; 0: none.
    pub big_every: u64,
    pub big_bytes: u64,
}

impl Default for Mix {
    fn default() -> Self {
        Mix {
            slow_every: 0,
            big_every: 0,
            big_bytes: 10 << 20,
        }
    }
}

impl Plan {
    /// 16 plain HTTP/1.1 connections with small requests, 2 ms apart.
    #[must_use]
    pub fn small(address: SocketAddr, host: &str) -> Plan {
        Plan {
            address,
            host: host.to_owned(),
            tls: None,
            http1: 16,
            http2: 0,
            streams_per_http2: 1,
            event_streams: 0,
            mix: Mix::default(),
            pause: Duration::from_millis(2),
            threads: 1,
        }
    }
}

/// Load that goes on until it is stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts it; every connection reconnects for ever, so the server need not be up yet, but what
    /// fails is counted.
    #[must_use]
    pub fn start(plan: Plan) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Tally::default());
        let plan = Arc::new(plan);
        let threads = (0..plan.threads.max(1))
            .map(|thread| {
                let (plan, stop, tally) =
                    (Arc::clone(&plan), Arc::clone(&stop), Arc::clone(&tally));
                std::thread::spawn(move || client::run_thread(&plan, thread, &stop, &tally))
            })
            .collect();
        Load {
            stop,
            tally,
            threads,
        }
    }

    /// Names what begins now: small requests that are sent from now on count in this phase of
    /// [`Report::latency`]. Before the first call that is [`FIRST_PHASE`].
    pub fn phase(&self, name: &str) {
        self.tally.phases.begin(name);
    }

    /// The figures so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.tally.report()
    }

    /// Lets every request end, then stops, and gives the figures.
    pub fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // A panic of a client thread must not look like success.
            if thread.join().is_err() {
                self.tally.fail("a load thread panicked".to_owned());
            }
        }
        self.tally.report()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}
