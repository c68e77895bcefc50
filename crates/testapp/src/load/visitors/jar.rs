//! The cookies of one browser, by name. Domain and path are not looked at: a visitor has one host.

use std::collections::BTreeMap;

use http::HeaderMap;

#[derive(Debug)]
pub(super) struct Jar {
    /// Over TLS: a cookie that is `Secure` is kept only then (RFC 6265 §5.3).
    secure: bool,
    cookies: BTreeMap<String, String>,
}

impl Jar {
    pub(super) fn new(secure: bool) -> Jar {
        Jar {
            secure,
            cookies: BTreeMap::new(),
        }
    }

    /// Takes every `Set-Cookie` of an answer; whether one was there.
    pub(super) fn store(&mut self, answer: &HeaderMap) -> bool {
        let lines = answer.get_all("set-cookie").iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        for line in &lines {
            self.store_line(line);
        }
        !lines.is_empty()
    }

    fn store_line(&mut self, line: &str) {
        let mut parts = line.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let (mut secure, mut over) = (false, false);
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            match key.to_ascii_lowercase().as_str() {
                "secure" => secure = true,
                "max-age" => over = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
                // How servers say that a cookie is over; other dates are after the test.
                "expires" => over |= value.contains("1970"),
                _ => {}
            }
        }
        if over {
            self.cookies.remove(name);
        } else if self.secure || !secure {
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    /// The value of `Cookie`; None: nothing to send.
    pub(super) fn field(&self) -> Option<String> {
        let pairs = self.cookies.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    pub(super) fn cookies(&self) -> &BTreeMap<String, String> {
        &self.cookies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(secure: bool, lines: &[&str]) -> Option<String> {
        let mut jar = Jar::new(secure);
        for line in lines {
            let mut answer = HeaderMap::new();
            answer.append("set-cookie", line.parse().unwrap());
            assert!(jar.store(&answer));
        }
        jar.field()
    }

    #[test]
    fn a_cookie_is_sent_back_and_replaced_by_name() {
        assert_eq!(after(false, &[]), None);
        let field = after(
            false,
            &["a=1; Path=/; HttpOnly", "b=x=y", "a=2; SameSite=Lax"],
        );
        assert_eq!(field.as_deref(), Some("a=2; b=x=y"));
    }

    #[test]
    fn a_cookie_that_is_over_is_dropped() {
        assert_eq!(after(false, &["a=1", "a=; Max-Age=0"]), None);
        let epoch = "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(after(false, &["a=1", epoch]), None);
        assert_eq!(after(false, &["a=1; Max-Age=60"]).as_deref(), Some("a=1"));
    }

    #[test]
    fn a_secure_cookie_needs_tls() {
        assert_eq!(after(false, &["a=1; Secure"]), None);
        assert_eq!(after(true, &["a=1; Secure"]).as_deref(), Some("a=1"));
    }

    #[test]
    fn an_answer_may_set_several() {
        let mut answer = HeaderMap::new();
        answer.append("set-cookie", "a=1".parse().unwrap());
        answer.append("set-cookie", "b=2".parse().unwrap());
        let mut jar = Jar::new(false);
        assert!(jar.store(&answer));
        assert!(!jar.store(&HeaderMap::new()));
        assert_eq!(jar.field().as_deref(), Some("a=1; b=2"));
    }
}
