//! What every request over TCP has to be, and what every answer says to a browser.
//!
//! A page of another site cannot use this API: a token is only taken from `Authorization`, which no
//! browser adds by itself; a name that was made to point here (DNS rebinding) is refused; so is a
//! request that says that another site sent it; and no other page may show this one in a frame.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::ApiError;

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FIELDS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// The names that the page may be reached by, beside those of loopback and plain addresses.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<[String]>);

impl Names {
    #[must_use]
    pub fn new(names: &[String]) -> Names {
        Names(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// An address cannot be made to point elsewhere; a name can, by whoever owns it.
    fn allows(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host.ends_with(".localhost")
            || bare.parse::<IpAddr>().is_ok()
            || self.0.contains(&host)
    }
}

/// The outermost middleware of the network's router.
pub(super) async fn keep(State(names): State<Names>, request: Request, next: Next) -> Response {
    let mut response = match refuse(&names, request.method(), request.headers()) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    for (name, value) in FIELDS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refuse(names: &Names, method: &Method, headers: &HeaderMap) -> Option<ApiError> {
    let Some(authority) = authority(headers) else {
        return Some(ApiError::new(
            StatusCode::BAD_REQUEST,
            "one Host field is needed that says which name was asked for",
        ));
    };
    if !names.allows(authority.host()) {
        return Some(ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "{} is not a name of this page; `baton serve --dashboard-host NAME` allows one",
                authority.host()
            ),
        ));
    }
    let safe = method == Method::GET || method == Method::HEAD;
    if !safe && !from_here(&authority, headers) {
        return Some(ApiError::new(
            StatusCode::FORBIDDEN,
            "this came from a page of another site",
        ));
    }
    None
}

fn authority(headers: &HeaderMap) -> Option<Authority> {
    let mut fields = headers.get_all(HOST).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return None;
    };
    let authority: Authority = field.to_str().ok()?.parse().ok()?;
    (!authority.as_str().contains('@')).then_some(authority)
}

/// A browser says where a request comes from; what is no browser says nothing. The scheme is left out:
/// another server may speak TLS in front.
fn from_here(authority: &Authority, headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if !matches!(site, None | Some(b"same-origin" | b"none")) {
        return false;
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => origin
            .to_str()
            .ok()
            .and_then(|text| text.split_once("://"))
            .is_some_and(|(_, from)| from.eq_ignore_ascii_case(authority.as_str())),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn status(method: Method, fields: &[(&'static str, &'static str)]) -> Option<u16> {
        let names = Names::new(&["Baton.example.com".to_owned()]);
        refuse(&names, &method, &headers(fields)).map(|error| error.status.as_u16())
    }

    #[test]
    fn only_names_of_this_page_are_answered() {
        for host in [
            "localhost:7070",
            "127.0.0.1",
            "[::1]:7070",
            "203.0.113.9:7070",
            "baton.example.com:7070",
            "BATON.example.com.",
        ] {
            assert_eq!(status(Method::GET, &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "baton.example.com.evil.example",
            "localhost.evil.example",
        ] {
            assert_eq!(status(Method::GET, &[("host", host)]), Some(421), "{host}");
        }
        assert_eq!(status(Method::GET, &[]), Some(400));
        assert_eq!(
            status(Method::GET, &[("host", "localhost"), ("host", "x")]),
            Some(400)
        );
        assert_eq!(status(Method::GET, &[("host", "x@localhost")]), Some(400));
    }

    #[test]
    fn what_another_site_sends_changes_nothing() {
        let host = ("host", "127.0.0.1:7070");
        let post = |fields: &[(&'static str, &'static str)]| {
            status(Method::POST, &[&[host], fields].concat())
        };
        assert_eq!(post(&[]), None);
        assert_eq!(post(&[("origin", "http://127.0.0.1:7070")]), None);
        assert_eq!(post(&[("origin", "https://127.0.0.1:7070")]), None);
        for origin in ["null", "http://127.0.0.1:3000", "http://evil.example", ""] {
            assert_eq!(post(&[("origin", origin)]), Some(403), "{origin}");
        }
        assert_eq!(post(&[("sec-fetch-site", "same-origin")]), None);
        for site in ["cross-site", "same-site"] {
            assert_eq!(post(&[("sec-fetch-site", site)]), Some(403), "{site}");
        }
    }
}
