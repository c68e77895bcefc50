//! Visitors with an identity: a browser with its cookies, an API client with its `Authorization`, a client
//! behind a proxy with its address. For each of them it is written down which release answered, in order.
//!
//! | module | does |
//! | --- | --- |
//! | [`client`] | one visitor's connection and requests |
//! | [`jar`] | its cookies |
//! | [`visits`] | the account |

mod client;
mod jar;
mod visits;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use visits::{Stay, Trail, Visits};

use super::latency::Phases;

/// One client, with one connection and one request after the other on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// Its key in [`Visits::trails`].
    pub name: String,
    /// Keeps cookies by name and sends them back.
    pub cookies: bool,
    /// Over HTTP/2 (h2c without TLS) instead of HTTP/1.1.
    pub http2: bool,
    /// Field lines of each request.
    pub fields: Vec<(String, String)>,
    /// Its own address, one of this machine (IPv4); None: the kernel's choice.
    pub from: Option<IpAddr>,
}

impl Visitor {
    /// Without an identity but its address.
    #[must_use]
    pub fn plain(name: &str) -> Visitor {
        Visitor {
            name: name.to_owned(),
            cookies: false,
            http2: false,
            fields: Vec::new(),
            from: None,
        }
    }

    /// Keeps cookies.
    #[must_use]
    pub fn browser(name: &str) -> Visitor {
        Visitor {
            cookies: true,
            ..Visitor::plain(name)
        }
    }

    /// Sends this `Authorization`, and no cookies.
    #[must_use]
    pub fn authorized(name: &str, authorization: &str) -> Visitor {
        Visitor::plain(name).with("authorization", authorization)
    }

    /// Comes through a trusted proxy, from this address.
    #[must_use]
    pub fn forwarded_for(name: &str, address: &str) -> Visitor {
        Visitor::plain(name).with("x-forwarded-for", address)
    }

    /// Comes from this address itself.
    #[must_use]
    pub fn from_address(name: &str, address: IpAddr) -> Visitor {
        Visitor {
            from: Some(address),
            ..Visitor::plain(name)
        }
    }

    /// Sends another field line.
    #[must_use]
    pub fn with(mut self, field: &str, value: &str) -> Visitor {
        self.fields.push((field.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn over_http2(mut self) -> Visitor {
        self.http2 = true;
        self
    }
}

/// Who visits what, how often.
#[derive(Debug, Clone)]
pub struct VisitPlan {
    pub address: SocketAddr,
    /// Host that is asked for (and, with TLS, the server's name).
    pub host: String,
    /// PEM of the certificate authority; None: plain.
    pub tls: Option<String>,
    /// What each asks for, with GET.
    pub path: String,
    /// Their names are distinct.
    pub visitors: Vec<Visitor>,
    /// So many requests each; 0: until they are stopped.
    pub requests_each: u64,
    /// Between two requests of a visitor.
    pub pause: Duration,
    /// A new connection for each request.
    pub fresh: bool,
    /// Worker threads; one is enough for a thousand visitors with a pause.
    pub threads: usize,
}

impl VisitPlan {
    /// `GET /who` until they are stopped, 20 ms apart, on kept plain connections.
    #[must_use]
    pub fn new(address: SocketAddr, host: &str, visitors: Vec<Visitor>) -> VisitPlan {
        VisitPlan {
            address,
            host: host.to_owned(),
            tls: None,
            path: "/who".to_owned(),
            visitors,
            requests_each: 0,
            pause: Duration::from_millis(20),
            fresh: false,
            threads: 1,
        }
    }
}

/// Visitors on threads of their own, until they are stopped or done.
#[derive(Debug)]
pub struct Visitors {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    plan: VisitPlan,
    begun: Instant,
    stop: AtomicBool,
    visits: Mutex<Visits>,
    phases: Phases,
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut Visits) -> T) -> T {
        change(&mut self.visits.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

impl Visitors {
    /// Starts them. They come back for ever, so the server need not be up yet, but what fails is counted.
    #[must_use]
    pub fn start(plan: VisitPlan) -> Visitors {
        let count = plan.threads.max(1);
        let shared = Arc::new(Shared {
            plan,
            begun: Instant::now(),
            stop: AtomicBool::new(false),
            visits: Mutex::new(Visits::default()),
            phases: Phases::default(),
        });
        let threads = (0..count)
            .map(|thread| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || client::run_thread(&shared, thread, count))
            })
            .collect();
        Visitors { shared, threads }
    }

    /// Names what begins now: requests that are sent from now on count in this phase of
    /// [`Visits::latency`]. Before the first call that is [`super::FIRST_PHASE`].
    pub fn phase(&self, name: &str) {
        self.shared.phases.begin(name);
    }

    /// The account so far.
    #[must_use]
    pub fn visits(&self) -> Visits {
        let mut visits = self.shared.with(|visits| visits.clone());
        visits.latency = self.shared.phases.latency();
        visits
    }

    /// Lets every request end, then stops.
    ///
    /// # Panics
    /// When a visitor did.
    pub fn stop(self) -> Visits {
        self.shared.stop.store(true, Ordering::Release);
        self.wait()
    }

    /// Waits until each has made its `requests_each`.
    ///
    /// # Panics
    /// When a visitor did, or when they would never end.
    pub fn wait(mut self) -> Visits {
        let ends = self.shared.plan.requests_each > 0 || self.shared.stopped();
        assert!(ends, "visitors without `requests_each` have to be stopped");
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok(), "a visitor panicked");
        }
        self.visits()
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
    }
}
