//! Sessions that an app keeps in its memory: which instance has which (DESIGN.md §5.7), so that at a
//! switch their clients stay and all others go.
//!
//! **How the proxy knows.** It learns: a `Set-Cookie` of the session cookie in an answer names a session
//! and the instance that has it; a request with a cookie that is not known yet, answered without a new
//! one, does the same with less weight. The other way would be a cookie of Baton's own. It would need no
//! memory and outlive the daemon, but clients that keep the session cookie only (scripts, mobile apps,
//! other services) would lose their session, sessions from before the first deploy would have none, it
//! would have to follow the path, domain and lifetime of the app's cookie and its every change, and it
//! tells nothing about how many sessions are left, which is what a drain waits for. What speaks against
//! learning is a daemon that is restarted in the middle of a drain: for that, [`Sessions::export`] gives
//! what is known of one instance in 11 bytes a session, and [`Sessions::import`] takes it back.
//!
//! **Where it is kept.** In a fixed table of 8 bytes a session, without locks: a part of the hash, a
//! number for the instance, and when the session was last used. Each session may lie in one of two
//! buckets of eight, so that the table fills to three quarters before anything in use is pushed out, and
//! then it is what was used longest ago, cookies that no app has confirmed first: who sends cookies of
//! their own making pushes out nobody. A false match needs 32 equal bits of a keyed hash in the same
//! bucket. The table is made when the first route with sessions is published (2 MiB: 262,144 sessions).
//!
//! **Several values.** A client may send the cookie twice (two paths): each is looked up, and the first
//! that is known decides. An app that gives a new id at login is followed, since both ids are known.
//! A cookie that the app deletes ends its session.
//!
//! **SockJS.** `/{server}/{session}/{transport}` names a session in its path. Its requests go to the
//! instance of the first one, with any route, for as long as that instance is there.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::instance::Instance;
use crate::random::random;
use crate::route::{Route, RoutingTable};

mod export;
mod names;
mod table;

use export::Export;
pub(crate) use names::{cookie_values, sockjs_session};
use names::{given, is_session_cookie};
use table::{LAST_OWNER, Lesson, TICK, Table, Word};

/// How long a SockJS session is kept that nobody asks for: its clients hear a heartbeat every 25 s, and
/// servers give up after 5 s without a connection.
const SOCKJS_KEEP: Duration = Duration::from_secs(60);
/// Half of what the table can tell apart.
const LONGEST_KEEP: Duration = Duration::from_secs(6 * 24 * 60 * 60);

/// `x-baton.sessions`: clients that hold this cookie stay on the instance that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRule {
    /// The cookie's name; upper and lower case differ (RFC 6265 §5.2).
    pub cookie: Box<str>,
    /// A session that its client has not used for so long is over. At most six days.
    pub keep: Duration,
}

/// The sessions that one request names; most name none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Claims(Named);

/// Keyed hashes, 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Named {
    cookies: [u64; 2],
    path: u64,
}

impl Claims {
    pub(crate) fn is_empty(&self) -> bool {
        self.0 == Named::default()
    }
}

/// The number of an instance in the table, and how long its sessions are kept. 0: it has none.
#[derive(Debug, Default)]
pub(crate) struct Token {
    number: AtomicU16,
    /// Ticks.
    keep: AtomicU64,
}

/// What is known of the sessions of all apps. Survives publishing.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// Set with the first hash.
    seed: OnceLock<u64>,
    begin: Instant,
    table: OnceLock<Table>,
    /// By number, from 1.
    owners: Mutex<Vec<Weak<Instance>>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Sessions {
            seed: OnceLock::new(),
            begin: Instant::now(),
            table: OnceLock::new(),
            owners: Mutex::default(),
        }
    }
}

impl Sessions {
    /// Gives a number to every instance that has none yet. Before the table is published.
    pub(crate) fn prepare(&self, table: &RoutingTable) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        for route in table.routes() {
            let keep = route.sessions.as_ref().map_or(Duration::ZERO, |s| s.keep);
            for instance in route.open_instances().chain(&route.pinned) {
                let token = &instance.session_token;
                token.keep.store(ticks(keep), Ordering::Relaxed);
                self.number(&mut owners, instance);
            }
        }
    }

    /// An instance's number; it gets one if it has none.
    fn number(&self, owners: &mut Vec<Weak<Instance>>, instance: &Arc<Instance>) -> u16 {
        let number = &instance.session_token.number;
        if number.load(Ordering::Relaxed) == 0 {
            number.store(self.free_number(owners, instance), Ordering::Release);
        }
        number.load(Ordering::Relaxed)
    }

    /// One that nobody has; 0 when all are taken.
    fn free_number(&self, owners: &mut Vec<Weak<Instance>>, instance: &Arc<Instance>) -> u16 {
        let owner = Arc::downgrade(instance);
        let free = owners.iter().position(|o| o.strong_count() == 0);
        let index = match free {
            Some(index) => {
                owners[index] = owner;
                index
            }
            None if owners.len() < usize::from(LAST_OWNER) => {
                owners.push(owner);
                owners.len() - 1
            }
            None => return 0,
        };
        // Not more than LAST_OWNER.
        let number = u16::try_from(index + 1).unwrap_or(0);
        if let (Some(_), Some(table)) = (free, self.table.get()) {
            table.forget_all(|word| word.owner() == number);
        }
        number
    }

    /// The sessions that a request names, as far as its route wants to know.
    pub(crate) fn claims<'f>(
        &self,
        route: &Route,
        target: &str,
        fields: impl Iterator<Item = (&'f str, &'f [u8])>,
    ) -> Claims {
        let mut named = Named::default();
        if let Some(session) = sockjs_session(target) {
            named.path = self.hash(session.as_bytes());
        }
        if let Some(rule) = &route.sessions {
            let values = fields
                .filter(|(name, _)| name.eq_ignore_ascii_case("cookie"))
                .flat_map(|(_, value)| cookie_values(value, &rule.cookie));
            for (slot, value) in named.cookies.iter_mut().zip(values) {
                *slot = self.hash(value);
            }
        }
        Claims(named)
    }

    /// The instance of a route that has one of these sessions.
    pub(crate) fn place<'r>(&self, route: &'r Route, claims: &Claims) -> Option<&'r Arc<Instance>> {
        if claims.is_empty() {
            return None;
        }
        let (named, table) = (&claims.0, self.table.get()?);
        let now = self.now();
        let keep = route.sessions.as_ref().map_or(Duration::ZERO, |s| s.keep);
        [
            (named.path, SOCKJS_KEEP),
            (named.cookies[0], keep),
            (named.cookies[1], keep),
        ]
        .into_iter()
        .filter(|(hash, _)| *hash != 0)
        .find_map(|(hash, keep)| {
            let word = table.get(hash)?;
            if word.age(now) > ticks(keep) {
                table.forget(hash);
                return None;
            }
            let mut all = route.open_instances().chain(&route.pinned);
            all.find(|i| i.session_token.number.load(Ordering::Relaxed) == word.owner())
        })
    }

    /// Whether an instance has one of these sessions, and it is in use.
    pub(crate) fn has(&self, instance: &Instance, claims: &Claims) -> bool {
        let (named, Some(table)) = (&claims.0, self.table.get()) else {
            return false;
        };
        let in_use = self.in_use(instance);
        let hashes = named.cookies.into_iter().filter(|hash| *hash != 0);
        hashes.filter_map(|hash| table.get(hash)).any(in_use)
    }

    /// Notes that these sessions are in use.
    pub(crate) fn touch(&self, claims: &Claims) {
        if let (named, Some(table)) = (&claims.0, self.table.get()) {
            let now = self.now();
            for hash in [named.path, named.cookies[0], named.cookies[1]] {
                if hash != 0 {
                    table.touch(hash, now);
                }
            }
        }
    }

    /// Learns from an answer's fields.
    pub(crate) fn answered<'f>(
        &self,
        route: &Route,
        instance: &Instance,
        claims: &Claims,
        fields: impl Iterator<Item = (&'f str, &'f [u8])>,
    ) {
        let mut set = fields
            .filter(|(name, _)| name.len() == 10 && name.eq_ignore_ascii_case("set-cookie"))
            .map(|(_, value)| value);
        let owner = instance.session_token.number.load(Ordering::Relaxed);
        let named = claims.0;
        let Some(rule) = &route.sessions else {
            let warned = &route.counters.session_cookie;
            if warned.get().is_none()
                && let Some(name) = set.find_map(is_session_cookie)
            {
                // Another thread may have been first.
                let _ = warned.set(name.into());
            }
            self.learn(named.path, owner, false, true);
            return;
        };
        self.learn(named.path, owner, false, true);
        let mut replaced = false;
        for given in set.filter_map(|value| given(value, &rule.cookie)) {
            replaced = true;
            // The client forgets the old one; of two it is not known which.
            if let [old, 0] = named.cookies {
                self.forget(old);
            }
            if let Some(value) = given {
                self.learn(self.hash(value), owner, true, false);
            }
        }
        if !replaced {
            for hash in named.cookies {
                self.learn(hash, owner, false, false);
            }
        }
    }

    fn learn(&self, hash: u64, owner: u16, proven: bool, path: bool) {
        if hash != 0 && owner != 0 {
            let lesson = Lesson {
                owner,
                proven,
                path,
            };
            let table = self.table.get_or_init(Table::new);
            table.learn(hash, lesson, self.now());
        }
    }

    fn forget(&self, hash: u64) {
        if let (Some(table), true) = (self.table.get(), hash != 0) {
            table.forget(hash);
        }
    }

    /// Sessions of an instance that were used within the time that they are kept.
    pub(crate) fn left(&self, instance: &Instance) -> u64 {
        let wanted = self.in_use(instance);
        self.table.get().map_or(0, |table| table.count(wanted))
    }

    /// The instance has no session any more; those that were in use are counted as ended.
    pub(crate) fn end(&self, instance: &Instance) {
        instance.close_pinned();
        let Some(table) = self.table.get() else {
            return;
        };
        let ended = table.forget_all(self.in_use(instance));
        let owner = instance.session_token.number.load(Ordering::Relaxed);
        table.forget_all(|word| word.owner() == owner);
        let counter = &instance.counters.sessions_ended;
        counter.fetch_add(ended, Ordering::Relaxed);
    }

    /// What is known of an instance's sessions.
    pub(crate) fn export(&self, instance: &Instance) -> Vec<u8> {
        let seed = *self.seed.get_or_init(random);
        let export = match self.table.get() {
            Some(table) => Export::of(seed, table, self.in_use(instance), self.now()),
            None => Export {
                seed,
                places: Vec::new(),
            },
        };
        export.to_bytes()
    }

    /// Takes back what another process has exported of an instance. Before the first request: after that
    /// the hashes are keyed otherwise. False: it is too late, or these are other bytes.
    pub(crate) fn import(&self, instance: &Arc<Instance>, bytes: &[u8]) -> bool {
        let Some(export) = Export::from_bytes(bytes) else {
            return false;
        };
        if *self.seed.get_or_init(|| export.seed) != export.seed {
            return false;
        }
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = self.number(&mut owners, instance);
        let (table, now) = (self.table.get_or_init(Table::new), self.now());
        for place in export.places {
            table.restore(place, owner, now);
        }
        owner != 0
    }

    fn in_use(&self, instance: &Instance) -> impl Fn(Word) -> bool {
        let (now, token) = (self.now(), &instance.session_token);
        let owner = token.number.load(Ordering::Relaxed);
        let keep = token.keep.load(Ordering::Relaxed);
        move |word| word.owner() == owner && !word.is_path() && word.age(now) <= keep
    }

    /// Never 0, which stands for none.
    fn hash(&self, value: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.seed.get_or_init(random).hash(&mut hasher);
        value.hash(&mut hasher);
        hasher.finish().max(1)
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_secs() / TICK
    }
}

/// Rounded up: a session is kept at least as long as was asked for.
fn ticks(keep: Duration) -> u64 {
    keep.min(LONGEST_KEEP).as_secs().div_ceil(TICK)
}
