//! Who may come in: client networks, then user and password (RFC 7617).
//!
//! Checking a password is slow on purpose, so that it never happens on a worker's thread, only a few at
//! a time, and once for each pair of user and password: what the outcome was is kept as a keyed hash.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use siphasher::sip::SipHasher24;
use tokio::sync::Semaphore;

use crate::answer::Answer;
use crate::forwarded::Forwarded;
use crate::io::Peer;
use crate::random::random;
use crate::route::host_name;
use crate::seen::Seen;

/// Longer than anyone types; bcrypt itself looks at 72 bytes.
const LONGEST: usize = 1024;
/// How long a request waits for its password to be checked while others are.
const PATIENCE: Duration = Duration::from_secs(10);
/// Passwords that wait to be checked, over all routes.
const WAITING: usize = 64;

/// The shield of a route. Empty: everyone may come in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Clients outside of these get 403; empty: all may come.
    pub allow: Vec<IpNet>,
    /// User and bcrypt hash; empty: nobody is asked.
    pub users: Vec<(String, String)>,
}

/// A password that has to be checked before its request goes on.
#[derive(Debug)]
pub(crate) struct Login {
    password: Vec<u8>,
    /// Another user's where the name is unknown: that takes as long.
    hash: String,
    known: bool,
    /// The pair, for the outcome.
    pair: u64,
    host: Box<str>,
}

/// What is known of passwords, over all workers.
#[derive(Debug)]
pub(crate) struct Passwords {
    /// Secret, so that nobody can make a pair with the hash of another.
    key: (u64, u64),
    right: Seen,
    wrong: Seen,
    /// Half of the machine at most.
    checks: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Passwords {
            key: (random(), random()),
            right: Seen::default(),
            wrong: Seen::default(),
            checks: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: Semaphore::new(WAITING),
        }
    }
}

impl Access {
    /// `Authorization` is for Baton, and none of the app's business.
    #[must_use]
    pub fn asks(&self) -> bool {
        !self.users.is_empty()
    }

    /// Whether a request may go on: at once (None), or when its password has been checked.
    ///
    /// # Errors
    /// 403 for clients of other networks, 401 for those who say no password, or a wrong one.
    pub(crate) fn admit(
        &self,
        passwords: &Passwords,
        peer: &Peer,
        forwarded: &Forwarded<'_>,
        host: &str,
        authorization: Option<&[u8]>,
    ) -> Result<Option<Box<Login>>, Answer> {
        let inside = |ip: IpAddr| self.allow.iter().any(|net| net.contains(&ip));
        if !self.allow.is_empty() && !forwarded.every_client_is(peer, inside) {
            return Err(Answer::new(403, "Your address is not allowed here."));
        }
        if !self.asks() {
            return Ok(None);
        }
        let Some((user, password)) = authorization.and_then(credentials) else {
            return Err(Answer::unauthorized(host));
        };
        self.login(passwords, &user, password, host)
    }

    fn login(
        &self,
        passwords: &Passwords,
        user: &[u8],
        password: Vec<u8>,
        host: &str,
    ) -> Result<Option<Box<Login>>, Answer> {
        let found = self.users.iter().find(|(name, _)| name.as_bytes() == user);
        let Some((_, hash)) = found.or(self.users.first()) else {
            return Err(Answer::unauthorized(host));
        };
        let known = found.is_some();
        let pair = passwords.pair(user, &password, hash);
        if known && passwords.right.has(pair) {
            return Ok(None);
        }
        if known && passwords.wrong.has(pair) {
            return Err(Answer::unauthorized(host));
        }
        Ok(Some(Box::new(Login {
            password,
            hash: hash.clone(),
            known,
            pair,
            host: host_name(host).into(),
        })))
    }
}

impl Passwords {
    fn pair(&self, user: &[u8], password: &[u8], hash: &str) -> u64 {
        use std::hash::Hasher;
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        for part in [user, password, hash.as_bytes()] {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part);
        }
        hasher.finish()
    }

    /// Checks a password, on a thread of its own.
    ///
    /// # Errors
    /// 401 when it is wrong, 503 when too many are to be checked.
    pub(crate) async fn check(&self, login: Login) -> Result<(), Answer> {
        let busy =
            || Answer::unavailable("Too many passwords are being checked; please try again.");
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.checks).acquire_owned());
        let turn = turn.await.map_err(|_| busy())?;
        let Login {
            password,
            hash,
            known,
            pair,
            host,
        } = login;
        // Another request may have paid for it while this one waited.
        if known && self.right.has(pair) {
            return Ok(());
        }
        let checked = tokio::task::spawn_blocking(move || {
            // The turn ends with the check, whatever becomes of who asked for it.
            let _turn = turn;
            bcrypt::verify(password, &hash)
        });
        let right = match checked.await {
            Ok(Ok(right)) => right && known,
            Ok(Err(error)) => {
                tracing::warn!(%host, %error, "a password hash of basic_auth is not bcrypt's");
                false
            }
            Err(_) => false,
        };
        if right {
            self.right.insert(pair);
            return Ok(());
        }
        if known {
            self.wrong.insert(pair);
        }
        Err(Answer::unauthorized(&host))
    }
}

/// User and password in an `Authorization` (RFC 7617 §2).
fn credentials(authorization: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, rest) = authorization.split_at_checked(5)?;
    if !scheme.eq_ignore_ascii_case(b"basic") || !rest.starts_with(b" ") || rest.len() > LONGEST {
        return None;
    }
    let mut user = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = user.iter().position(|byte| *byte == b':')?;
    let password = user.split_off(colon + 1);
    user.truncate(colon);
    Some((user, password))
}

#[cfg(test)]
mod tests {
    use super::credentials;

    #[test]
    fn credentials_are_basic_ones() {
        let pair = |user: &str, password: &str| Some((user.into(), password.into()));
        // "Aladdin:open sesame" is RFC 7617's.
        assert_eq!(
            credentials(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            pair("Aladdin", "open sesame")
        );
        assert_eq!(credentials(b"basic  YTpiOmM="), pair("a", "b:c"));
        for other in [
            "",
            "Basic",
            "Basic !",
            "Basic YQ==",
            "Bearer YTpi",
            "BasicYTpi",
        ] {
            assert_eq!(credentials(other.as_bytes()), None, "{other}");
        }
    }
}
