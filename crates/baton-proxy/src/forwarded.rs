//! What Baton tells an app about its client: `X-Real-IP`, `X-Forwarded-For`, `-Proto`, `-Host`.
//!
//! From a trusted proxy they are kept and added to. One that sends no `X-Real-IP` has named its client in
//! `X-Forwarded-For`: the last address there that is not a trusted proxy itself, since anyone can have
//! written what stands before it. What anyone else sent of these fields is replaced, and so are all other `X-Forwarded-*` and `Forwarded` (RFC 7239), which an app could believe as well.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use crate::io::Peer;

/// Takes the fields of a message that is written anew.
pub(crate) trait FieldSink {
    /// One field line; its value is the pieces one after the other.
    fn field(&mut self, name: &str, value: &[&[u8]]);
}

impl FieldSink for Vec<u8> {
    fn field(&mut self, name: &str, value: &[&[u8]]) {
        self.extend_from_slice(name.as_bytes());
        self.extend_from_slice(b": ");
        for piece in value {
            self.extend_from_slice(piece);
        }
        self.extend_from_slice(b"\r\n");
    }
}

/// What a trusted proxy said about its client, gathered while the fields pass by.
#[derive(Debug, Default)]
pub(crate) struct Forwarded<'b> {
    real_ip: Option<&'b [u8]>,
    chain: SmallVec<[&'b [u8]; 2]>,
    proto: Option<&'b [u8]>,
    host: Option<&'b [u8]>,
}

impl<'b> Forwarded<'b> {
    /// All that a message's fields say. Those of a client that is not trusted say nothing.
    pub(crate) fn of<'n>(peer: &Peer, fields: impl Iterator<Item = (&'n str, &'b [u8])>) -> Self {
        let mut forwarded = Forwarded::default();
        if peer.trusted {
            for (name, value) in fields {
                forwarded.takes(peer, name, value);
            }
        }
        forwarded
    }

    /// Whether a field is not to be copied: Baton writes it itself, or nobody trusted has sent it.
    pub(crate) fn takes(&mut self, peer: &Peer, name: &str, value: &'b [u8]) -> bool {
        if !concerns_forwarding(name) {
            return false;
        }
        if !peer.trusted {
            return true;
        }
        let ours = if name.eq_ignore_ascii_case("x-forwarded-for") {
            self.chain.push(value);
            true
        } else if name.eq_ignore_ascii_case("x-real-ip") {
            self.real_ip.get_or_insert(value);
            true
        } else if name.eq_ignore_ascii_case("x-forwarded-proto") {
            self.proto.get_or_insert(value);
            true
        } else if name.eq_ignore_ascii_case("x-forwarded-host") {
            self.host.get_or_insert(value);
            true
        } else {
            false
        };
        // CGI and WSGI cannot tell `X_Forwarded_For` from the real one.
        ours || name.contains('_')
    }

    /// Whether the client, as far as is known, uses HTTPS.
    pub(crate) fn is_secure(&self, peer: &Peer) -> bool {
        peer.secure
            || self
                .proto
                .is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"))
    }

    /// The client, as the app is told in `X-Real-IP`; the peer where that is no address.
    pub(crate) fn client(&self, peer: &Peer) -> IpAddr {
        let real = match self.real_ip {
            Some(real) => read_ip(real),
            None => self.last_untrusted(peer),
        };
        real.unwrap_or_else(|| peer.ip())
    }

    /// Whether this holds of every address that the client may have, whichever of the two fields the
    /// proxy has written itself and which it has only passed on. What is no address is nobody's.
    pub(crate) fn every_client_is(&self, peer: &Peer, so: impl Fn(IpAddr) -> bool) -> bool {
        let real = self.real_ip.map(read_ip);
        // A proxy before the proxy is no client.
        let real = real.filter(|real| !real.is_some_and(|ip| peer.trusted_proxies.have(ip)));
        let chain = (!self.chain.is_empty()).then(|| self.last_untrusted(peer));
        match (real, chain) {
            (None, None) => so(self.client(peer)),
            (real, chain) => [real, chain]
                .into_iter()
                .flatten()
                .all(|ip| ip.is_some_and(&so)),
        }
    }

    /// The client as `X-Forwarded-For` has it; its first address where all are trusted proxies. None
    /// where the last of them is no address.
    fn last_untrusted(&self, peer: &Peer) -> Option<IpAddr> {
        let mut client = None;
        let all = self.chain.iter().rev().flat_map(|line| {
            let parts = line.rsplit(|byte| *byte == b',');
            parts.map(<[u8]>::trim_ascii)
        });
        for part in all.filter(|part| !part.is_empty()) {
            let Some(ip) = read_ip(part) else { break };
            client = Some(ip);
            if !peer.trusted_proxies.have(ip) {
                break;
            }
        }
        client
    }

    /// Writes the four fields.
    pub(crate) fn write(&self, peer: &Peer, host: &str, sink: &mut impl FieldSink) {
        let mut space = [0; IP_LENGTH];
        let address = write_ip(peer.ip(), &mut space);
        let mut real_space = [0; IP_LENGTH];
        let real = self
            .real_ip
            .or_else(|| Some(write_ip(self.last_untrusted(peer)?, &mut real_space)));
        sink.field("X-Real-IP", &[real.unwrap_or(address)]);
        let mut chain: SmallVec<[&[u8]; 8]> = SmallVec::new();
        for part in self.chain.iter().filter(|part| !part.is_empty()) {
            chain.push(part);
            chain.push(b", ");
        }
        chain.push(address);
        sink.field("X-Forwarded-For", &chain);
        let proto: &[u8] = if peer.secure { b"https" } else { b"http" };
        sink.field("X-Forwarded-Proto", &[self.proto.unwrap_or(proto)]);
        sink.field("X-Forwarded-Host", &[self.host.unwrap_or(host.as_bytes())]);
    }
}

/// `X-Real-IP`, `Forwarded`, `X-Forwarded-*`, with `_` for `-` as well.
fn concerns_forwarding(name: &str) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    let name = name.as_bytes();
    let same = |known: &[u8]| {
        name.iter().zip(known).all(|(&byte, &known)| {
            byte.to_ascii_lowercase() == known || (byte == b'_' && known == b'-')
        })
    };
    match name.len() {
        9 if same(b"x-real-ip") || same(b"forwarded") => true,
        length => length > PREFIX.len() && same(PREFIX),
    }
}

/// The longest: an IPv6 address of eight full groups with an embedded IPv4 one.
const IP_LENGTH: usize = 46;

fn write_ip(ip: IpAddr, space: &mut [u8; IP_LENGTH]) -> &[u8] {
    let mut rest = &mut space[..];
    // It fits: the array is as long as the longest address.
    let _ = write!(rest, "{ip}");
    let left = rest.len();
    &space[..IP_LENGTH - left]
}

/// An address, perhaps with a port: some proxies write `203.0.113.9:4711` or `[2001:db8::1]:4711`.
fn read_ip(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse::<IpAddr>()
        .ok()
        .or_else(with_port)
        .map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::{Forwarded, concerns_forwarding};
    use crate::io::{Peer, TrustedProxies};

    fn written(trusted: bool, sent: &[(&str, &str)]) -> (String, Vec<String>) {
        let nets = ["10.0.0.0/8", "203.0.113.9/32", "fd00::/8"];
        let nets: Vec<ipnet::IpNet> = nets.iter().map(|net| net.parse().unwrap()).collect();
        let peer = Peer {
            address: "[::ffff:203.0.113.9]:4711".parse().unwrap(),
            secure: false,
            on_443: false,
            trusted,
            trusted_proxies: Box::leak(Box::new(TrustedProxies(nets))),
        };
        let mut forwarded = Forwarded::default();
        let passed = sent
            .iter()
            .filter(|(name, value)| !forwarded.takes(&peer, name, value.as_bytes()))
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let mut out = Vec::new();
        forwarded.write(&peer, "api.example.com", &mut out);
        (String::from_utf8(out).unwrap(), passed)
    }

    #[test]
    fn what_an_untrusted_client_says_is_replaced() {
        let (written, passed) = written(
            false,
            &[
                ("x-forwarded-for", "1.2.3.4"),
                ("X_Forwarded_For", "1.2.3.4"),
                ("X-Forwarded-Port", "443"),
                ("X-Real-Ip", "1.2.3.4"),
                ("Forwarded", "for=1.2.3.4"),
                ("X-Forwarder", "stays"),
            ],
        );
        assert_eq!(passed, ["X-Forwarder"]);
        assert_eq!(
            written,
            "X-Real-IP: 203.0.113.9\r\nX-Forwarded-For: 203.0.113.9\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: api.example.com\r\n"
        );
    }

    #[test]
    fn what_a_trusted_proxy_says_is_kept_and_added_to() {
        let (written, passed) = written(
            true,
            &[
                ("x-forwarded-for", "198.51.100.7"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "shop.example.com"),
                ("x-real-ip", "198.51.100.7"),
                ("x-forwarded-port", "443"),
                ("x_forwarded_proto", "http"),
            ],
        );
        assert_eq!(passed, ["x-forwarded-port"]);
        assert_eq!(
            written,
            "X-Real-IP: 198.51.100.7\r\n\
             X-Forwarded-For: 198.51.100.7, 10.0.0.1, 203.0.113.9\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example.com\r\n"
        );
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_has() {
        let real = |chain: &[&str]| {
            let sent: Vec<_> = chain
                .iter()
                .map(|line| ("x-forwarded-for", *line))
                .collect();
            let (written, _) = written(true, &sent);
            let line = written.lines().next().unwrap();
            line.strip_prefix("X-Real-IP: ").unwrap().to_owned()
        };
        assert_eq!(real(&["198.51.100.7"]), "198.51.100.7");
        assert_eq!(real(&["1.2.3.4, 198.51.100.7, 10.0.0.1"]), "198.51.100.7");
        assert_eq!(
            real(&["1.2.3.4,198.51.100.7", "10.0.0.1", "fd00::1"]),
            "198.51.100.7"
        );
        assert_eq!(real(&["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(
            real(&["[2001:db8::1]:4711, ::ffff:10.0.0.1"]),
            "2001:db8::1"
        );
        assert_eq!(real(&["10.0.0.9, 10.0.0.1"]), "10.0.0.9");
        assert_eq!(real(&["unknown, 10.0.0.1"]), "10.0.0.1");
        assert_eq!(real(&["198.51.100.7, unknown"]), "203.0.113.9");
        assert_eq!(real(&[]), "203.0.113.9");
    }

    #[test]
    fn only_whole_names_count() {
        assert!(concerns_forwarding("X-Forwarded-Anything"));
        assert!(!concerns_forwarding("X-Forwarded"));
        assert!(!concerns_forwarding("X-Real-IPs"));
    }
}
