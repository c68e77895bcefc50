//! Whose request it is, as far as its route wants to know.

use std::sync::Arc;

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
}

impl Caller {
    pub(crate) fn of<'f, I: Iterator<Item = (&'f str, &'f [u8])>>(
        worker: &WorkerContext,
        peer: &Peer,
        route: &Route,
        target: &str,
        fields: impl Fn() -> I,
        forwarded: &Forwarded<'_>,
    ) -> Caller {
        let claims = worker.shared().sessions.claims(route, target, fields());
        let choice = route.split.as_ref().map(|split| {
            let address = forwarded.client(peer);
            let mut asked = Asked {
                cookie: None,
                authorization: None,
                wish: None,
                address,
                secure: forwarded.is_secure(peer),
            };
            for (name, value) in fields() {
                note(&mut asked, name, value);
            }
            split.choose(&asked, &route.counters.returning)
        });
        if claims.is_empty() && choice.is_none() {
            return Caller::default();
        }
        Caller(Some(Arc::new(Known { claims, choice })))
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

    /// The id that the client gets with its answer.
    pub(crate) fn given(&self, route: &Route) -> Option<Given> {
        route.split.as_ref()?;
        self.choice()?.given()
    }
}

/// What one field says about the client. The first of its kind counts.
fn note<'f>(asked: &mut Asked<'f>, name: &str, value: &'f [u8]) {
    let (slot, found) = if name.eq_ignore_ascii_case("cookie") {
        let id = cookie_values(value, split::COOKIE).next();
        (&mut asked.cookie, id)
    } else if name.eq_ignore_ascii_case("authorization") {
        (&mut asked.authorization, Some(value))
    } else if name.eq_ignore_ascii_case(split::HEADER) {
        (&mut asked.wish, Some(value.trim_ascii()))
    } else {
        return;
    };
    *slot = slot.or(found);
}
