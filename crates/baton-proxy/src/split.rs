//! A canary: a share of the clients goes to another release, and each client stays where it is
//! (DESIGN.md §7).
//!
//! A client is known by a cookie of Baton's own, an id that means nothing; which side it is on follows
//! from the id and the release alone, so that nobody has to remember it, a restart changes nothing, and
//! whoever meets the canary keeps it while the weight rises. Both sides give the cookie to those who
//! have none.
//!
//! Until a client has come back with its cookie it is placed by its `Authorization`, else by its address,
//! and the id that it gets with the answer is drawn until it lies on the same side: else half of the
//! first visitors of a canary would be back on the old release with their second request. But many
//! browsers behind one address would all be on one side then. So it is remembered which addresses have
//! brought the cookie back: a request without one from there is a newcomer's that will keep its cookie,
//! and is placed by an id of its own from the start.

use std::net::IpAddr;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use crate::caller::Caller;
use crate::instance::Instance;
use crate::random::random;
use crate::route::Route;
use crate::seen::Seen;

/// The cookie's name.
pub const COOKIE: &str = "baton_id";
/// A request with `always` or `never` here goes where it says.
pub const HEADER: &str = "x-baton-canary";

/// Fixed for ever: another key would send clients back to the old release.
const KEY: (u64, u64) = (0x6261_746f_6e5f_6964, 0x7370_6c69_745f_7631);

/// A canary beside [`Route::instances`].
#[derive(Debug, Clone)]
pub struct Split {
    /// The canary's. They belong to the sets that `Route` has for both sides as well
    /// ([`Route::halves`]), and their gates are open.
    pub instances: Vec<Arc<Instance>>,
    /// Percent of the clients that meet the canary; over 100 is 100.
    pub weight: u8,
    /// Part of what a client is placed by, so that each release meets other clients first.
    pub release: Box<str>,
    /// [`HEADER`] decides for a request that has it.
    pub header: bool,
}

/// What a request says about its client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'f> {
    /// The value of [`COOKIE`].
    pub(crate) cookie: Option<&'f [u8]>,
    pub(crate) authorization: Option<&'f [u8]>,
    /// The value of [`HEADER`].
    pub(crate) wish: Option<&'f [u8]>,
    pub(crate) address: IpAddr,
    /// The client uses HTTPS.
    pub(crate) secure: bool,
}

impl Asked<'_> {
    /// A number for the client, where it is one among many.
    pub(crate) fn client(&self) -> u64 {
        match (self.cookie, self.authorization) {
            (Some(id), _) => hash(&[b"id", id]),
            (None, Some(value)) => hash(&[b"authorization", value]),
            (None, None) => hash(&[b"address", network(self.address).as_slice()]),
        }
    }
}

/// Where a client is placed, whatever the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    identity: Identity,
    /// It wants to be on the canary, or not.
    forced: Option<bool>,
    /// It had no id.
    given: Option<Given>,
}

/// What a client is placed by, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64);

/// An id for a client that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given {
    id: [u64; 2],
    secure: bool,
}

impl Split {
    /// Whether this client meets the canary.
    fn takes(&self, identity: Identity) -> bool {
        self.place(identity) < self.weight
    }

    /// 0 to 99, evenly.
    fn place(&self, identity: Identity) -> u8 {
        let hash = hash(&[&identity.0.to_le_bytes(), self.release.as_bytes()]);
        // Less than 100.
        u8::try_from((u128::from(hash) * 100) >> 64).unwrap_or(99)
    }

    /// An id on the same side as `identity`; any where there is but one side.
    fn draw(&self, identity: Identity) -> [u64; 2] {
        let both = (1..100).contains(&self.weight);
        loop {
            let id = [random(), random()];
            if !both || self.takes(Identity::of_id(&text(id))) == self.takes(identity) {
                return id;
            }
        }
    }

    /// Places a client. `returning`: the addresses that have brought their cookie back.
    pub(crate) fn choose(&self, asked: &Asked<'_>, returning: &Seen) -> Choice {
        let forced = asked.wish.filter(|_| self.header).and_then(|wish| {
            let is = |word: &[u8]| wish.eq_ignore_ascii_case(word);
            (is(b"always") || is(b"never")).then(|| is(b"always"))
        });
        let address = hash(&[
            b"returning",
            self.release.as_bytes(),
            network(asked.address).as_slice(),
        ]);
        if let Some(id) = asked.cookie {
            returning.insert(address);
            return Choice {
                identity: Identity::of_id(id),
                forced,
                given: None,
            };
        }
        let id = match asked.authorization {
            Some(value) => self.draw(Identity(hash(&[b"authorization", value]))),
            None if returning.has(address) => [random(), random()],
            None => self.draw(Identity::of_address(asked.address)),
        };
        Choice {
            identity: Identity::of_id(&text(id)),
            forced,
            given: Some(Given {
                id,
                secure: asked.secure,
            }),
        }
    }

    /// Whether the request goes to the canary.
    fn serves(&self, choice: &Choice) -> bool {
        choice.forced.unwrap_or_else(|| self.takes(choice.identity))
    }
}

impl Identity {
    fn of_id(id: &[u8]) -> Identity {
        Identity(hash(&[b"id", id]))
    }

    fn of_address(ip: IpAddr) -> Identity {
        Identity(hash(&[b"address", network(ip).as_slice()]))
    }
}

impl Choice {
    pub(crate) fn given(&self) -> Option<Given> {
        self.given
    }
}

impl Given {
    /// The value of `Set-Cookie`.
    pub(crate) fn cookie(self) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let id = text(self.id);
        // Hexadecimal digits.
        let id = String::from_utf8_lossy(&id);
        format!("{COOKIE}={id}; Path=/; SameSite=Lax; HttpOnly{secure}")
    }
}

/// Which instances may take a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sides<'r> {
    /// Those of the side that its client is on.
    pub(crate) own: &'r [Arc<Instance>],
    /// Where it goes when none of those is open.
    pub(crate) other: &'r [Arc<Instance>],
    /// `own` is the canary.
    pub(crate) canary: bool,
}

impl Route {
    /// The two sides of a route, as a caller sees them. Without a split there is one.
    pub(crate) fn sides(&self, caller: &Caller) -> Sides<'_> {
        let live = self.instances.as_slice();
        let Some(split) = &self.split else {
            return Sides {
                own: live,
                other: &[],
                canary: false,
            };
        };
        // A request that came before there was a split is the old release's.
        let canary = caller.choice().is_some_and(|choice| split.serves(choice));
        let (own, other) = if canary {
            (split.instances.as_slice(), live)
        } else {
            (live, split.instances.as_slice())
        };
        Sides { own, other, canary }
    }

    /// All instances that requests without a session may go to.
    pub(crate) fn open_instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        let canary = self.split.iter().flat_map(|split| &split.instances);
        self.instances.iter().chain(canary)
    }
}

/// What one client has: an IPv4 address, or the network that an IPv6 one is from (a /64).
pub(crate) fn network(ip: IpAddr) -> smallvec::SmallVec<[u8; 8]> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets().as_slice().into(),
        IpAddr::V6(ip) => ip.octets()[..8].into(),
    }
}

/// Stable over restarts and releases. The parts are told apart.
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = SipHasher13::new_with_keys(KEY.0, KEY.1);
    for part in parts {
        hasher.write(part);
        hasher.write(&(part.len() as u64).to_le_bytes());
    }
    hasher.finish()
}

/// As it stands in the cookie.
fn text(id: [u64; 2]) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    let id = (u128::from(id[0]) << 64) | u128::from(id[1]);
    for (at, digit) in text.iter_mut().enumerate() {
        *digit = DIGITS[(id >> (124 - 4 * at)) as usize & 15];
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Asked, COOKIE, Choice, Given, Split};
    use crate::seen::Seen;

    fn split(weight: u8) -> Split {
        Split {
            instances: Vec::new(),
            weight,
            release: "r7".into(),
            header: true,
        }
    }

    fn nobody() -> Asked<'static> {
        Asked {
            cookie: None,
            authorization: None,
            wish: None,
            address: [192, 0, 2, 7].into(),
            secure: false,
        }
    }

    fn id_of(given: Given) -> String {
        let cookie = given.cookie();
        let value = cookie.split(';').next().unwrap();
        value.strip_prefix(&format!("{COOKIE}=")).unwrap().into()
    }

    /// The choice of the client's next request.
    fn comes_back(split: &Split, choice: &Choice) -> Choice {
        let id = id_of(choice.given().expect("it had none"));
        let asked = Asked {
            cookie: Some(id.as_bytes()),
            ..nobody()
        };
        split.choose(&asked, &Seen::default())
    }

    proptest! {
        #[test]
        fn who_is_on_the_canary_stays_as_the_weight_rises(id in "[ -~]{1,40}", release in "r[0-9]{1,3}") {
            let asked = Asked { cookie: Some(id.as_bytes()), ..nobody() };
            let mut before = false;
            for weight in 0..=100 {
                let split = Split { release: release.as_str().into(), ..split(weight) };
                let now = split.serves(&split.choose(&asked, &Seen::default()));
                prop_assert!(now || !before, "back at {weight}");
                before = now;
            }
            prop_assert!(before, "100 is everyone");
        }

        #[test]
        fn a_given_id_is_on_the_side_of_its_request(
            weight in 0..=100_u8, address: [u8; 4], authorization in proptest::option::of("[ -~]{1,40}"),
        ) {
            let split = split(weight);
            let asked = Asked {
                authorization: authorization.as_ref().map(String::as_bytes),
                address: address.into(),
                ..nobody()
            };
            let first = split.choose(&asked, &Seen::default());
            let second = comes_back(&split, &first);
            prop_assert_eq!(split.serves(&first), split.serves(&second));
            prop_assert_eq!(second.given(), None);
            // And a client that keeps no cookies has one side as well.
            let again = split.choose(&asked, &Seen::default());
            prop_assert_eq!(split.serves(&first), split.serves(&again));
        }
    }

    #[test]
    fn the_share_is_the_weight() {
        for weight in [1_u8, 5, 25, 50, 99] {
            let split = split(weight);
            let on = |n: u32| {
                let id = format!("{n:032x}");
                let asked = Asked {
                    cookie: Some(id.as_bytes()),
                    ..nobody()
                };
                split.serves(&split.choose(&asked, &Seen::default()))
            };
            let share = (0..20_000).filter(|n| on(*n)).count() / 200;
            assert!(share.abs_diff(usize::from(weight)) <= 1, "{share} {weight}");
        }
    }

    #[test]
    fn each_release_meets_others_first() {
        let (one, other) = (
            split(50),
            Split {
                release: "r8".into(),
                ..split(50)
            },
        );
        let same = (0..2_000_u32)
            .filter(|n| {
                let address = n.to_be_bytes().into();
                let asked = Asked {
                    address,
                    ..nobody()
                };
                let on = |split: &Split| split.serves(&split.choose(&asked, &Seen::default()));
                on(&one) == on(&other)
            })
            .count();
        assert!((900..1_100).contains(&same), "{same} of 2000");
    }

    #[test]
    fn newcomers_of_an_address_that_keeps_cookies_are_spread() {
        let (split, returning) = (split(50), Seen::default());
        let sides = || {
            (0..200)
                .filter(|_| split.serves(&split.choose(&nobody(), &returning)))
                .count()
        };
        assert!(matches!(sides(), 0 | 200), "by their address");
        let kept = Asked {
            cookie: Some(b"0123"),
            ..nobody()
        };
        split.choose(&kept, &returning);
        assert!((60..140).contains(&sides()), "each by an id of its own");
        let first = split.choose(&nobody(), &returning);
        assert_eq!(
            split.serves(&first),
            split.serves(&comes_back(&split, &first))
        );
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let (split, returning) = (split(50), Seen::default());
        let side = |address: String| {
            let asked = Asked {
                address: address.parse().unwrap(),
                ..nobody()
            };
            split.serves(&split.choose(&asked, &returning))
        };
        for net in 0..50 {
            let one = side(format!("2001:db8:0:{net:x}::1"));
            assert_eq!(one, side(format!("2001:db8:0:{net:x}:ffff::9")));
        }
    }

    #[test]
    fn a_wish_decides_where_it_may() {
        let wish = |wish: &'static [u8], header, weight| {
            let split = Split {
                header,
                ..split(weight)
            };
            let asked = Asked {
                wish: Some(wish),
                ..nobody()
            };
            split.serves(&split.choose(&asked, &Seen::default()))
        };
        assert!(wish(b"always", true, 0) && wish(b"Always", true, 0));
        assert!(!wish(b"never", true, 100));
        assert!(wish(b"perhaps", true, 100) && !wish(b"perhaps", true, 0));
        assert!(!wish(b"always", false, 0) && wish(b"never", false, 100));
    }

    #[test]
    fn the_place_of_an_id_is_never_another() {
        // Written down: a change here sends clients back to the old release.
        let places: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|id| split(0).place(super::Identity::of_id(id.as_bytes())))
            .collect();
        assert_eq!(places, PLACES);
    }

    const PLACES: [u8; 3] = [97, 90, 23];

    #[test]
    fn the_cookie_is_for_the_whole_site_and_no_script() {
        let given = |secure| Given {
            id: [1, u64::MAX],
            secure,
        };
        assert_eq!(
            given(false).cookie(),
            "baton_id=0000000000000001ffffffffffffffff; Path=/; SameSite=Lax; HttpOnly"
        );
        assert!(given(true).cookie().ends_with("; HttpOnly; Secure"));
    }
}
