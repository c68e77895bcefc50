//! Where the app's Redis is, without ever showing how to log in there.

use std::fmt;

use ::redis::{ConnectionAddr, ConnectionInfo};

use super::error::RedisError;

/// A Redis URL (`redis://`, `valkey://`, `unix://`). Printing it leaves user and password out.
#[derive(Clone)]
pub struct Url {
    pub(super) info: ConnectionInfo,
}

impl Url {
    /// # Errors
    /// [`RedisError::Rule`]; the text is never repeated, since it may hold a password.
    pub fn parse(text: &str) -> Result<Url, RedisError> {
        let text = text.trim();
        // `redis:6379`, as some frameworks take it.
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("redis://{text}")
        };
        let info: ConnectionInfo = whole.parse().map_err(|_| {
            RedisError::Rule("expected a URL such as redis://redis:6379/0".to_owned())
        })?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Err(RedisError::Rule(
                "TLS (rediss://) is not supported; expected a URL such as redis://redis:6379/0"
                    .to_owned(),
            ));
        }
        Ok(Url { info })
    }

    /// Host and port; None for a Unix socket.
    #[must_use]
    pub fn host(&self) -> Option<(&str, u16)> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some((host, *port))
            }
            _ => None,
        }
    }

    /// The same place and database, whoever logs in.
    #[must_use]
    pub fn same_server(&self, other: &Url) -> bool {
        self.info.addr() == other.info.addr() && self.same_database(other)
    }

    pub(super) fn same_database(&self, other: &Url) -> bool {
        self.info.redis_settings().db() == other.info.redis_settings().db()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.info.addr() {
            ConnectionAddr::Unix(path) => write!(f, "{}", path.display()),
            address => write!(f, "{address}"),
        }?;
        match self.info.redis_settings().db() {
            0 => Ok(()),
            db => write!(f, "/{db}"),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_never_shown() {
        let url = Url::parse("redis://shop:s3cret@redis:6380/2").expect("a URL");
        assert_eq!(url.host(), Some(("redis", 6380)));
        assert_eq!(url.to_string(), "redis:6380/2");
        assert_eq!(format!("{url:?}"), "Url(redis:6380/2)");
        for bad in [
            "http://u:s3cret@x",
            "redis://u:s3cret@x/abc",
            "rediss://u:s3cret@x",
            "",
        ] {
            let error = Url::parse(bad).expect_err(bad).to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn the_forms_that_apps_write() {
        for (text, shown) in [
            ("redis:6379", "redis:6379"),
            ("redis", "redis:6379"),
            ("redis://redis", "redis:6379"),
            ("valkey://cache:7000/0", "cache:7000"),
            ("unix:///run/redis.sock", "/run/redis.sock"),
            ("redis://:pw@[::1]:6379", "::1:6379"),
        ] {
            assert_eq!(Url::parse(text).expect(text).to_string(), shown);
        }
    }
}
