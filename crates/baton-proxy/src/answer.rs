//! The answers that Baton gives itself: a status and a line that says what happened.

use std::sync::Arc;

use bytes::Bytes;

use crate::page::Page;
use crate::route::{Route, host_name};

/// One answer of Baton's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// What happened, for a person; one line.
    pub(crate) message: String,
    /// Seconds.
    pub(crate) retry_after: Option<u32>,
    more: Option<Box<More>>,
}

/// What few answers have: an answer has its place in the task of every connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum More {
    /// `Location`.
    Location(String),
    /// `WWW-Authenticate`.
    Challenge(String),
    /// The body, whatever the client accepts.
    Page(Arc<str>),
    /// The same, and no more than this text.
    Text(Arc<str>),
    /// The body for who accepts HTML: the user's words instead of ours.
    ErrorPage(Arc<str>),
}

impl Answer {
    #[must_use]
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Answer {
        Answer {
            status,
            message: message.into(),
            retry_after: None,
            more: None,
        }
    }

    /// 301 for GET and HEAD, 308 for the others, which a client must repeat as they were.
    #[must_use]
    pub(crate) fn redirect(method: &str, location: String) -> Answer {
        let status = if matches!(method, "GET" | "HEAD") {
            301
        } else {
            308
        };
        Answer {
            more: Some(Box::new(More::Location(location))),
            ..Answer::new(status, "This is to be found elsewhere.")
        }
    }

    /// A page of the route's.
    #[must_use]
    pub(crate) fn page(page: &Page) -> Answer {
        let seconds = page
            .retry_after
            .map(|after| u32::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u32::MAX));
        Answer {
            retry_after: seconds,
            more: Some(Box::new(More::Page(Arc::clone(&page.body)))),
            ..Answer::new(page.status_with_body(), "")
        }
    }

    /// 200 with this very text.
    #[must_use]
    pub(crate) fn text(text: Arc<str>) -> Answer {
        Answer {
            more: Some(Box::new(More::Text(text))),
            ..Answer::new(200, "")
        }
    }

    /// 401 that asks for user and password. `host`: as sent, and checked to be one.
    #[must_use]
    pub(crate) fn unauthorized(host: &str) -> Answer {
        let realm = host_name(host);
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        Answer {
            more: Some(Box::new(More::Challenge(challenge))),
            ..Answer::new(401, "User and password, please.")
        }
    }

    /// 503 that asks to come back.
    #[must_use]
    pub(crate) fn unavailable(message: impl Into<String>) -> Answer {
        Answer {
            retry_after: Some(1),
            ..Answer::new(503, message)
        }
    }

    /// As the users of this route shall see it, if it is the app that failed them.
    #[must_use]
    pub(crate) fn of(self, route: &Route) -> Answer {
        match &route.error_page {
            Some(page) if self.status >= 500 && self.more.is_none() => Answer {
                more: Some(Box::new(More::ErrorPage(Arc::clone(page)))),
                ..self
            },
            _ => self,
        }
    }

    /// The body, and its media type by what the client accepts.
    fn body(&self, html: bool) -> (String, &'static str) {
        if let Some(More::Page(page)) = self.more.as_deref() {
            return (page.to_string(), "text/html; charset=utf-8");
        }
        if let Some(More::Text(text)) = self.more.as_deref() {
            return (text.to_string(), "text/plain; charset=utf-8");
        }
        let (status, reason) = (self.status, reason(self.status));
        if !html {
            return (
                format!("{status} {reason}: {}\n", self.message),
                "text/plain; charset=utf-8",
            );
        }
        let message = escape(&self.message);
        if let Some(More::ErrorPage(page)) = self.more.as_deref() {
            let page = page
                .replace("{status}", &status.to_string())
                .replace("{message}", &message);
            return (page, "text/html; charset=utf-8");
        }
        (
            format!(
                "<!doctype html><html><head><meta charset=utf-8><title>{status} {reason}</title></head>\
                 <body><h1>{status} {reason}</h1><p>{message}</p></body></html>\n"
            ),
            "text/html; charset=utf-8",
        )
    }

    /// The field that only answers of its kind have.
    fn field(&self) -> Option<(&'static str, &str)> {
        match self.more.as_deref()? {
            More::Location(location) => Some(("Location", location)),
            More::Challenge(challenge) => Some(("WWW-Authenticate", challenge)),
            More::Page(_) | More::Text(_) | More::ErrorPage(_) => None,
        }
    }

    /// The whole HTTP/1.1 message. The body is left out for HEAD, its length is not. Returns how many bytes
    /// of a body there are.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        html: bool,
        head_only: bool,
        close: bool,
    ) -> usize {
        let (body, media) = self.body(html);
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {media}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n",
            self.status,
            reason(self.status),
            body.len()
        );
        if let Some(seconds) = self.retry_after {
            head.push_str(&format!("Retry-After: {seconds}\r\n"));
        }
        if let Some((name, value)) = self.field() {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
        if head_only {
            return 0;
        }
        out.extend_from_slice(body.as_bytes());
        body.len()
    }

    /// The same for HTTP/2.
    pub(crate) fn into_response(self, html: bool) -> http::Response<Bytes> {
        let (body, media) = self.body(html);
        let mut response = http::Response::builder()
            .status(self.status)
            .header("content-type", media)
            .header("content-length", body.len())
            .header("cache-control", "no-store");
        if let Some(seconds) = self.retry_after {
            response = response.header("retry-after", seconds);
        }
        if let Some((name, value)) = self.field() {
            response = response.header(name, value);
        }
        response
            .body(Bytes::from(body))
            .unwrap_or_else(|_| bare(500))
    }
}

/// For the one case that a field cannot be written: a location that is no field value.
fn bare(status: u16) -> http::Response<Bytes> {
    let mut response = http::Response::new(Bytes::new());
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Whether an `Accept` asks for a page rather than a line: a browser's does.
pub(crate) fn accepts_html(accept: &[u8]) -> bool {
    accept
        .windows(b"text/html".len())
        .any(|part| part.eq_ignore_ascii_case(b"text/html"))
}

/// The phrase that belongs to a status (RFC 9110 §15).
pub(crate) fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::Answer;

    fn written(answer: &Answer, html: bool, head_only: bool, close: bool) -> String {
        let mut out = Vec::new();
        answer.write(&mut out, html, head_only, close);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_names_what_happened() {
        let text = written(
            &Answer::unavailable("shop: nothing can serve this."),
            false,
            false,
            true,
        );
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(text.contains("\r\nRetry-After: 1\r\n"));
        assert!(text.contains("\r\nConnection: close\r\n"));
        assert!(text.ends_with("\r\n\r\n503 Service Unavailable: shop: nothing can serve this.\n"));
    }

    #[test]
    fn head_gets_the_length_without_the_body() {
        let answer = Answer::new(404, "<b>");
        let (whole, head) = (
            written(&answer, true, false, false),
            written(&answer, true, true, false),
        );
        assert!(whole.starts_with(&head) && head.ends_with("\r\n\r\n"));
        assert!(whole.contains("&lt;b&gt;"));
    }

    #[test]
    fn only_get_and_head_are_moved_by_301() {
        assert_eq!(Answer::redirect("GET", "https://a/".into()).status, 301);
        assert_eq!(Answer::redirect("POST", "https://a/".into()).status, 308);
    }
}
