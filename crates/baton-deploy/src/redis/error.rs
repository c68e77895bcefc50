//! What can go wrong between Baton and the app's Redis. No message holds a credential.

/// Why the app's Redis could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// Unreachable, too slow, starting, failing over, out of memory: it may pass by itself.
    #[error("Redis at {at} cannot be used now: {reason}")]
    Away { at: String, reason: String },
    /// The credentials are wrong, or their ACL lacks a command or key.
    #[error("Redis at {at} refuses: {reason}; check the user and password in the URL, and its ACL")]
    Refused { at: String, reason: String },
    #[error("{key} at {at} is not a stream; check x-baton.redis.streams")]
    WrongType { at: String, key: String },
    /// Messages moved there would have no reader.
    #[error(
        "{key} has no group {group} yet, so nobody would read what is moved there; nothing was moved"
    )]
    NoReader { key: String, group: String },
    /// What `x-baton.redis` asks for cannot be found in the color's environment.
    #[error("x-baton.redis: {0}")]
    Rule(String),
    /// An answer that was not expected.
    #[error("Redis at {at} answered {command} with: {reason}")]
    Answer {
        at: String,
        command: String,
        reason: String,
    },
}

impl RedisError {
    /// It may pass by itself: ask again later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, RedisError::Away { .. })
    }
}

impl From<RedisError> for crate::DeployError {
    fn from(error: RedisError) -> crate::DeployError {
        crate::DeployError::Other(error.to_string())
    }
}

/// Error codes of a server that is there and cannot do it now.
const PASSING: [&str; 11] = [
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "READONLY",
    "MOVED",
    "ASK",
];

/// Puts an error of the client into Baton's words.
pub(super) fn explain(
    at: &str,
    command: &str,
    key: &str,
    error: &::redis::RedisError,
) -> RedisError {
    let at = at.to_owned();
    let reason = || match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    match error.code() {
        Some(code) if PASSING.contains(&code) => RedisError::Away {
            at,
            reason: reason(),
        },
        Some("WRONGTYPE") => RedisError::WrongType {
            at,
            key: key.to_owned(),
        },
        Some("NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED") => RedisError::Refused {
            at,
            reason: reason(),
        },
        _ if error.kind() == ::redis::ErrorKind::AuthenticationFailed => RedisError::Refused {
            at,
            reason: reason(),
        },
        _ if error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error() => {
            RedisError::Away {
                at,
                reason: reason(),
            }
        }
        _ => RedisError::Answer {
            at,
            command: command.to_owned(),
            reason: reason(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(answer: &str) -> RedisError {
        let value = ::redis::parse_redis_value(format!("-{answer}\r\n").as_bytes());
        let error = value.and_then(::redis::Value::extract_error);
        explain(
            "redis:6379",
            "XRANGE",
            "orders",
            &error.expect_err("an error"),
        )
    }

    #[test]
    fn what_passes_by_itself_is_waited_for() {
        for answer in [
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica.",
            "MASTERDOWN Link with MASTER is down",
            "CLUSTERDOWN The cluster is down",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "BUSY Redis is busy running a script.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "MISCONF Redis is configured to save RDB snapshots",
        ] {
            let error = of(answer);
            assert!(error.is_passing(), "{answer}: {error:?}");
            assert!(error.to_string().contains(answer), "{error}");
        }
    }

    #[test]
    fn what_a_person_must_mend_says_what() {
        for (answer, told) in [
            (
                "NOAUTH Authentication required.",
                "check the user and password",
            ),
            (
                "WRONGPASS invalid username-password pair",
                "check the user and password",
            ),
            (
                "NOPERM this user has no permissions",
                "check the user and password",
            ),
            (
                "WRONGTYPE Operation against a key",
                "orders at redis:6379 is not a stream",
            ),
            (
                "ERR unknown command 'XRANGE'",
                "answered XRANGE with: ERR unknown command",
            ),
        ] {
            let error = of(answer);
            assert!(!error.is_passing(), "{error:?}");
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
