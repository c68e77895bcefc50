//! Whether an instance's answer may be joined to a stream that a client already has (Streams.md §1.1).

/// Why an answer cannot be another half of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyNot {
    /// Only 200 is a stream; 204 and 205 say "do not come back", 3xx and 4xx are for the client itself.
    #[error("its status is {0}, not 200")]
    Status(u16),
    /// No `Content-Type`, more than one, or another type.
    #[error("its Content-Type is not text/event-stream")]
    ContentType,
    /// It is a file that ends, not a stream.
    #[error("it has a Content-Length")]
    ContentLength,
    /// Events cannot be found in compressed bytes.
    #[error("it is coded (Content-Encoding)")]
    ContentEncoding,
    /// The cookie would never reach the client.
    #[error("it sets a cookie")]
    SetCookie,
    /// The client was allowed other things by the head that it got.
    #[error("its CORS fields are not those that the client got")]
    Cors,
}

/// The `Access-Control-*` fields of a head, for comparison. Takes no memory where there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cors(Vec<(String, Box<[u8]>)>);

impl Cors {
    /// Picks them out of a head; their order and the case of their names do not count.
    #[must_use]
    pub fn of<'f>(fields: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Self {
        let mut picked = Self::default();
        for (name, value) in fields {
            picked.pick(name, value);
        }
        picked.0.sort_unstable();
        picked
    }

    fn pick(&mut self, name: &str, value: &[u8]) {
        const PREFIX: &str = "access-control-";
        let start = name.get(..PREFIX.len()).unwrap_or_default();
        if start.eq_ignore_ascii_case(PREFIX) {
            self.0
                .push((name.to_ascii_lowercase(), value.trim_ascii().into()));
        }
    }
}

/// Whether an answer with this head may be another half of a stream whose client got `cors`.
///
/// # Errors
/// The first reason against it.
pub fn acceptable_half<'f>(
    status: u16,
    fields: impl IntoIterator<Item = (&'f str, &'f [u8])>,
    cors: &Cors,
) -> Result<(), WhyNot> {
    if status != 200 {
        return Err(WhyNot::Status(status));
    }
    let mut is_stream = None;
    let mut own = Cors::default();
    for (name, value) in fields {
        if name.eq_ignore_ascii_case("content-type") {
            is_stream = Some(is_stream.is_none() && is_event_stream(value));
        } else if name.eq_ignore_ascii_case("content-length") {
            return Err(WhyNot::ContentLength);
        } else if name.eq_ignore_ascii_case("content-encoding") {
            let coding = value.trim_ascii();
            if !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity") {
                return Err(WhyNot::ContentEncoding);
            }
        } else if name.eq_ignore_ascii_case("set-cookie") {
            return Err(WhyNot::SetCookie);
        } else {
            own.pick(name, value);
        }
    }
    own.0.sort_unstable();
    if is_stream != Some(true) {
        Err(WhyNot::ContentType)
    } else if own == *cors {
        Ok(())
    } else {
        Err(WhyNot::Cors)
    }
}

/// Whether a `Content-Type` is `text/event-stream`; parameters, the case of letters and blanks around it do not count.
#[must_use]
pub fn is_event_stream(content_type: &[u8]) -> bool {
    content_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii()
        .eq_ignore_ascii_case(b"text/event-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cors_fields_are_compared_without_order_or_case() {
        let given = Cors::of([
            ("Access-Control-Allow-Origin", &b"https://example.com"[..]),
            ("vary", b"Origin"),
            ("access-control-allow-credentials", b"true"),
        ]);
        let head = |origin: &'static [u8]| {
            [
                ("content-type", &b"text/event-stream"[..]),
                ("access-control-allow-credentials", b" true "),
                ("access-control-allow-origin", origin),
            ]
        };
        assert_eq!(
            acceptable_half(200, head(b"https://example.com"), &given),
            Ok(())
        );
        assert_eq!(acceptable_half(200, head(b"*"), &given), Err(WhyNot::Cors));
        let plain = [("content-type", &b"text/event-stream"[..])];
        assert_eq!(acceptable_half(200, plain, &given), Err(WhyNot::Cors));
        assert_eq!(acceptable_half(200, plain, &Cors::default()), Ok(()));
    }
}
