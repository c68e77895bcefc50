//! hyper's HTTP/1.1 parsers as oracles: what hyper refuses, we refuse, and what both take means the same.
//!
//! Messages come from a grammar that knows where parsers differ, then bytes are changed, put in, taken out and
//! doubled. A few thousand cases by default; `BATON_LONG=1` runs 200,000 for each direction.
//!
//! Exceptions, that is what we take and hyper does not: none. (The other way round there are many: hyper takes a
//! bare LF, repeated equal lengths, `Content-Length` with `Transfer-Encoding`, a request without `Host`, and more;
//! each is a row of `h1_rules`.)
// Not every function of a test has `#[test]` on it.
#![allow(clippy::unwrap_used)]

mod grammar;
mod request;
mod response;

use baton_proxy::h1::{BodyDecoder, BodyLength, Decoded, Refusal, trailer_fields};
use proptest::test_runner::{Config, TestRunner};

/// Fields in order, names in lower case.
type Fields = Vec<(String, Vec<u8>)>;

fn fields(of: &http::HeaderMap) -> Fields {
    of.iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// hyper keeps fields of one name together; so do we, to compare.
fn grouped(mut fields: Fields) -> Fields {
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Body {
    data: Vec<u8>,
    trailers: Fields,
}

/// Our verdict on a body at the start of `bytes`: what it holds and how many bytes it took, None when it has
/// not ended.
fn our_body(length: BodyLength, bytes: &[u8]) -> Result<Option<(Body, usize)>, Refusal> {
    let mut decoder = BodyDecoder::new(length);
    let mut body = Body {
        data: Vec::new(),
        trailers: Vec::new(),
    };
    let mut at = 0;
    loop {
        match decoder.decode(&bytes[at..])? {
            Decoded::NeedMore { .. } => {
                return Ok(decoder.may_end_by_close().then_some((body, at)));
            }
            Decoded::Data { consumed, data } => {
                body.data.extend_from_slice(&bytes[at..][data]);
                at += consumed;
            }
            Decoded::End { consumed, trailers } => {
                for field in trailer_fields(&bytes[at..][trailers]) {
                    let field = field?;
                    body.trailers
                        .push((field.name.to_ascii_lowercase(), field.value.to_vec()));
                }
                body.trailers = grouped(body.trailers);
                return Ok(Some((body, at + consumed)));
            }
        }
    }
}

fn runner(cases: u32) -> TestRunner {
    let cases = if std::env::var_os("BATON_LONG").is_some() {
        200_000
    } else {
        cases
    };
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

/// How many cases each side took: a grammar whose messages are all refused would prove nothing.
#[derive(Debug, Default)]
struct Tally {
    both: std::cell::Cell<u32>,
    only_hyper: std::cell::Cell<u32>,
    neither: std::cell::Cell<u32>,
}

impl Tally {
    fn count(&self, ours: bool, theirs: bool) {
        let cell = match (ours, theirs) {
            (true, _) => &self.both,
            (false, true) => &self.only_hyper,
            (false, false) => &self.neither,
        };
        cell.set(cell.get() + 1);
    }

    fn assert_telling(&self) {
        eprintln!("{self:?}");
        let all = self.both.get() + self.only_hyper.get() + self.neither.get();
        for part in [&self.both, &self.only_hyper, &self.neither] {
            assert!(
                part.get() * 50 > all,
                "the grammar leans to one side: {self:?}"
            );
        }
    }
}
