//! Networks that clients come from.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// An IP network such as `10.0.0.0/8`; host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub address: std::net::IpAddr,
    pub prefix: u8,
}

impl Network {
    /// Is this client's address in it? An IPv4 address that a socket for both families shows as IPv6
    /// (`::ffff:10.0.0.1`, RFC 4291 §2.5.5.2) counts as the IPv4 address that it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        IpNet::new(self.address, self.prefix)
            .is_ok_and(|network| network.contains(&address.to_canonical()))
    }

    /// As IPv4 where it is a part of `::ffff:0:0/96`: clients are compared as IPv4, too.
    fn canonical(network: IpNet) -> Network {
        const MAPPED: u8 = 96;
        let v4 = match network {
            IpNet::V6(v6) if v6.prefix_len() >= MAPPED => Ipv6Addr::to_ipv4_mapped(&v6.addr())
                .and_then(|address| Ipv4Net::new(address, v6.prefix_len() - MAPPED).ok()),
            _ => None,
        };
        let network = v4.map_or(network, IpNet::V4);
        Network {
            address: network.addr(),
            prefix: network.prefix_len(),
        }
    }
}

impl FromStr for Network {
    type Err = String;

    /// # Errors
    /// It is neither an address nor a network, or the network has host bits set; the right one is named.
    fn from_str(text: &str) -> Result<Network, String> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| {
                format!("expected an address or a network such as 10.0.0.0/8, found {text:?}")
            })?,
        };
        let right = network.trunc();
        if right != network {
            return Err(format!(
                "{text} has bits behind its prefix: the network is {}, the one address {}",
                Network::canonical(right),
                network.addr()
            ));
        }
        Ok(Network::canonical(network))
    }
}

/// `10.0.0.0/8`; one address without its prefix.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix == whole {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn has(text: &str, address: &str) -> bool {
        let address: IpAddr = address.parse().expect("an address");
        network(text).contains(address)
    }

    #[test]
    fn addresses_and_networks_are_read_and_shown() {
        for (typed, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(network(typed).to_string(), shown, "{typed}");
            assert_eq!(network(shown), network(typed), "{typed}");
        }
    }

    #[test]
    fn a_network_with_host_bits_is_answered_with_the_right_one() {
        let error = "10.1.2.3/8".parse::<Network>().expect_err("host bits");
        assert_eq!(
            error,
            "10.1.2.3/8 has bits behind its prefix: the network is 10.0.0.0/8, the one address 10.1.2.3"
        );
        let error = "2001:db8::1/64".parse::<Network>().expect_err("host bits");
        assert!(error.contains("2001:db8::/64"), "{error}");
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "localhost",
            "10.0.0.0/",
            "10.0.0.0/8 ",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn both_families_are_told_apart_and_mapped_ones_are_not() {
        assert!(has("10.0.0.0/8", "10.255.0.1"));
        assert!(has("10.0.0.0/8", "::ffff:10.255.0.1"));
        assert!(!has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("::ffff:10.0.0.0/104", "10.0.0.1"));
        assert!(has("2001:db8::/32", "2001:db8:1::1"));
        assert!(!has("2001:db8::/32", "10.0.0.1"));
        assert!(!has("::/0", "10.0.0.1"), "IPv6 only, as in a firewall");
        assert!(has("0.0.0.0/0", "::ffff:203.0.113.9"));
    }
}
