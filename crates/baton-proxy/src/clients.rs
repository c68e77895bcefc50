//! How many connections each client address holds, over all workers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// More than the limit by this many at once, and a connection is closed without an answer: whoever
/// opens that many does not read it.
const ANSWERED_OVER_LIMIT: usize = 32;

#[derive(Debug, Clone)]
pub(crate) struct Clients {
    limit: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// What a new connection may do.
#[derive(Debug)]
pub(crate) enum Admission {
    Admitted(ClientPermit),
    /// Over the limit: answer 429 and close.
    Refused(ClientPermit),
    /// Far over it: close.
    Dropped,
}

/// One counted connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct ClientPermit {
    clients: Clients,
    key: IpAddr,
}

impl Clients {
    /// `limit` of 0: none.
    pub(crate) fn new(limit: usize) -> Clients {
        Clients {
            limit,
            open: Arc::default(),
        }
    }

    pub(crate) fn admit(&self, address: IpAddr) -> Admission {
        let key = key(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key).or_insert(0);
        if self.limit > 0 && *count >= self.limit + ANSWERED_OVER_LIMIT {
            return Admission::Dropped;
        }
        *count += 1;
        let over = self.limit > 0 && *count > self.limit;
        drop(open);
        let permit = ClientPermit {
            clients: self.clone(),
            key,
        };
        if over {
            Admission::Refused(permit)
        } else {
            Admission::Admitted(permit)
        }
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let mut open = self
            .clients
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

/// One client: an IPv4 address, or the /64 that an IPv6 client is given whole.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let prefix = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::{ANSWERED_OVER_LIMIT, Admission, Clients};

    #[test]
    fn counts_an_ipv6_64_as_one_client_and_forgets_who_left() {
        let clients = Clients::new(2);
        let a = clients.admit("2001:db8::1".parse().unwrap());
        let _b = clients.admit("2001:db8::2".parse().unwrap());
        assert!(matches!(a, Admission::Admitted(_)));
        let c = clients.admit("2001:db8::3".parse().unwrap());
        assert!(matches!(c, Admission::Refused(_)));
        let other = clients.admit("2001:db8:0:1::1".parse().unwrap());
        assert!(matches!(other, Admission::Admitted(_)));
        drop((a, c));
        let d = clients.admit("2001:db8::4".parse().unwrap());
        assert!(matches!(d, Admission::Admitted(_)));
        drop((d, other));
        assert_eq!(clients.open.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_mapped_ipv4_address_is_the_ipv4_client() {
        let clients = Clients::new(1);
        let _a = clients.admit("192.0.2.1".parse().unwrap());
        let b = clients.admit("::ffff:192.0.2.1".parse().unwrap());
        assert!(matches!(b, Admission::Refused(_)));
    }

    #[test]
    fn far_over_the_limit_nothing_is_answered() {
        let clients = Clients::new(1);
        let held: Vec<_> = (0..=ANSWERED_OVER_LIMIT)
            .map(|_| clients.admit("192.0.2.1".parse().unwrap()))
            .collect();
        assert!(matches!(held.last(), Some(Admission::Refused(_))));
        let next = clients.admit("192.0.2.1".parse().unwrap());
        assert!(matches!(next, Admission::Dropped));
    }

    #[test]
    fn zero_is_no_limit() {
        let clients = Clients::new(0);
        let held: Vec<_> = (0..5_000)
            .map(|_| clients.admit("192.0.2.1".parse().unwrap()))
            .collect();
        assert!(held.iter().all(|a| matches!(a, Admission::Admitted(_))));
    }
}
