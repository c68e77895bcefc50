//! How sessions are named: in `Cookie`, in `Set-Cookie`, in a SockJS path.

/// Cookies that apps keep sessions in memory, or in files of their own, under.
const SESSION_COOKIES: [&str; 7] = [
    "JSESSIONID",
    "PHPSESSID",
    "connect.sid",
    "ASP.NET_SessionId",
    ".AspNetCore.Session",
    "CFID",
    "beaker.session.id",
];

/// SockJS transports that belong to a session; `/info`, `/websocket` and `/iframe` have none.
const TRANSPORTS: [&str; 8] = [
    "websocket",
    "xhr",
    "xhr_send",
    "xhr_streaming",
    "eventsource",
    "htmlfile",
    "jsonp",
    "jsonp_send",
];

/// The values of a cookie in a `Cookie` field (RFC 6265 §4.2.1).
pub(crate) fn cookie_values<'v, 'n>(
    field: &'v [u8],
    name: &'n str,
) -> impl Iterator<Item = &'v [u8]> + use<'v, 'n> {
    field
        .split(|byte| *byte == b';')
        .filter_map(move |pair| value_of(pair, name))
        .filter(|value| !value.is_empty())
}

fn value_of<'v>(pair: &'v [u8], name: &str) -> Option<&'v [u8]> {
    let (found, value) = name_and_value(pair)?;
    (found == name.as_bytes()).then_some(value)
}

fn name_and_value(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
}

/// What a `Set-Cookie` field does with a cookie: gives it a value, or takes it away (Some(None)). None:
/// it is about another one.
pub(super) fn given<'v>(field: &'v [u8], name: &str) -> Option<Option<&'v [u8]>> {
    let mut parts = field.split(|byte| *byte == b';');
    let value = value_of(parts.next()?, name)?;
    let ends = parts.any(|attribute| {
        name_and_value(attribute).is_some_and(|(attribute, value)| {
            (attribute.eq_ignore_ascii_case(b"max-age") && is_over(value))
                || (attribute.eq_ignore_ascii_case(b"expires") && is_the_epoch(value))
        })
    });
    Some((!ends && !value.is_empty()).then_some(value))
}

/// A `Max-Age` of zero or less (RFC 6265 §5.2.2).
fn is_over(seconds: &[u8]) -> bool {
    match seconds {
        [b'-', ..] => true,
        digits => !digits.is_empty() && digits.iter().all(|digit| *digit == b'0'),
    }
}

/// The date that everyone takes a cookie away with.
fn is_the_epoch(date: &[u8]) -> bool {
    date.windows(4).any(|year| year == b"1970")
}

/// The name of the session cookie that a `Set-Cookie` field gives out, if it is a well-known one.
pub(super) fn is_session_cookie(field: &[u8]) -> Option<&'static str> {
    SESSION_COOKIES
        .into_iter()
        .find(|name| matches!(given(field, name), Some(Some(_))))
}

/// `/{server}/{session}` in a target that ends in `/{server}/{session}/{transport}`: what SockJS clients
/// ask for, under whatever prefix. The server part is three digits in all clients, and neither part has
/// a dot in it.
pub(crate) fn sockjs_session(target: &str) -> Option<&str> {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let (rest, transport) = path.rsplit_once('/')?;
    if !TRANSPORTS.contains(&transport) {
        return None;
    }
    let (prefix, session) = rest.rsplit_once('/')?;
    let (_, server) = prefix.rsplit_once('/')?;
    let fits = server.len() == 3
        && server.bytes().all(|digit| digit.is_ascii_digit())
        && !session.is_empty()
        && !session.contains('.');
    fits.then_some(&rest[prefix.len() - server.len()..])
}

#[cfg(test)]
mod tests {
    use super::{cookie_values, given, is_session_cookie, sockjs_session};

    #[test]
    fn cookies_are_found_whole_and_as_often_as_they_are_sent() {
        let values = |field: &'static str| {
            cookie_values(field.as_bytes(), "SID")
                .map(|value| std::str::from_utf8(value).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(values("SID=a"), ["a"]);
        assert_eq!(values("x=1; SID=a==;SID=b ; sid=c"), ["a==", "b"]);
        assert!(values("XSID=a; SIDX=b; SID; SID=; y=SID=z").is_empty());
    }

    #[test]
    fn a_cookie_is_given_or_taken_away() {
        let set = |field: &'static str| {
            given(field.as_bytes(), "SID")
                .map(|value| value.map(|value| std::str::from_utf8(value).unwrap()))
        };
        assert_eq!(set("SID=a; Path=/; HttpOnly"), Some(Some("a")));
        assert_eq!(set("SID=a; Max-Age=1800"), Some(Some("a")));
        assert_eq!(set("SID=a; max-age=0"), Some(None));
        assert_eq!(set("SID=a; Max-Age=-1"), Some(None));
        assert_eq!(set("SID=; Path=/"), Some(None));
        let epoch = "SID=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(set(epoch), Some(None));
        assert_eq!(set("other=SID=a"), None);
    }

    #[test]
    fn well_known_session_cookies_are_noticed_when_given() {
        let noticed = |field: &str| is_session_cookie(field.as_bytes());
        assert_eq!(noticed("JSESSIONID=1; Path=/"), Some("JSESSIONID"));
        assert_eq!(noticed("connect.sid=s%3A1"), Some("connect.sid"));
        assert_eq!(noticed("JSESSIONID=; Max-Age=0"), None);
        assert_eq!(noticed("theme=dark"), None);
    }

    #[test]
    fn sockjs_sessions_are_named_by_their_path() {
        let same = Some("123/abc");
        assert_eq!(sockjs_session("/chat/123/abc/xhr_streaming?t=1"), same);
        assert_eq!(sockjs_session("/123/abc/xhr_send"), same);
        for other in [
            "/chat/info",
            "/chat/websocket",
            "/a/b/xhr",
            "/api/123/x.y/xhr",
        ] {
            assert_eq!(sockjs_session(other), None, "{other}");
        }
        assert_eq!(sockjs_session("/chat/iframe-1.html"), None);
        assert_eq!(sockjs_session("/orders/123/abc/status"), None);
    }
}
