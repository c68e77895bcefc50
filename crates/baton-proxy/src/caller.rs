//! Whose request it is, as far as its route wants to know.

use std::sync::Arc;
use std::time::Instant;

use crate::forwarded::Forwarded;
use crate::io::Peer;
use crate::route::Route;
use crate::sessions::{Claims, cookie_values};
use crate::split::{self, Asked, Choice, Given};
use crate::worker::WorkerContext;

/// Goes with a request from its head to its last byte: one pointer, since it lies in several places of a
/// connection's task. The default is nobody.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller(Option<Arc<Known>>);

#[derive(Debug)]
struct Known {
    claims: Claims,
    choice: Option<Choice>,
    /// Who it counts as where errors are counted: its cookie's, else its `Authorization`, else its
    /// address.
    client: u64,
    /// When the head of the request was there whole.
    came: Instant,
}

impl Caller {
    pub(crate) fn of<'f, I: Iterator<Item = (&'f str, &'f [u8])>>(
        worker: &WorkerContext,
        peer: &Peer,
        route: &Route,
        target: &str,
        fields: impl Fn() -> I,
        forwarded: &Forwarded<'_>,
        came: Instant,
    ) -> Caller {
        let claims = worker.shared().sessions.claims(route, target, fields());
        let mut asked = Asked {
            cookie: None,
            authorization: None,
            wish: None,
            address: forwarded.client(peer),
            secure: forwarded.is_secure(peer),
        };
        for (name, value) in fields() {
            note(&mut asked, route, name, value);
        }
        let choice = route
            .split
            .as_ref()
            .map(|split| split.choose(&asked, &route.counters.returning));
        Caller(Some(Arc::new(Known {
            claims,
            choice,
            client: asked.client(),
            came,
        })))
    }

    /// The sessions that the request names.
    pub(crate) fn claims(&self) -> Claims {
        self.0
            .as_ref()
            .map_or_else(Claims::default, |known| known.claims)
    }

    /// Where a split has placed its client. None: there was no split when it came.
    pub(crate) fn choice(&self) -> Option<&Choice> {
        self.0.as_ref()?.choice.as_ref()
    }

    /// A number for its client, and when the request had come. None: nobody's request.
    pub(crate) fn client(&self) -> Option<(u64, Instant)> {
        self.0.as_ref().map(|known| (known.client, known.came))
    }

    /// The id that the client gets with its answer.
    pub(crate) fn given(&self, route: &Route) -> Option<Given> {
        route.split.as_ref()?;
        self.choice()?.given()
    }
}

/// What one field says about the client. The first of its kind counts.
fn note<'f>(asked: &mut Asked<'f>, route: &Route, name: &str, value: &'f [u8]) {
    // The cookie is not read while there is no split.
    let (slot, found) = if route.split.is_some() && name.eq_ignore_ascii_case("cookie") {
        let id = cookie_values(value, split::COOKIE).next();
        (&mut asked.cookie, id)
    } else if name.eq_ignore_ascii_case("authorization") && !route.asks_for_password() {
        // A password that all users of a route share tells nobody apart.
        (&mut asked.authorization, Some(value))
    } else if name.eq_ignore_ascii_case(split::HEADER) {
        (&mut asked.wish, Some(value.trim_ascii()))
    } else {
        return;
    };
    *slot = slot.or(found);
}
