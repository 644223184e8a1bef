//! Networks, as `10.0.0.0/8` or a single address.

use std::fmt;
use std::net::IpAddr;

use super::source::Written;

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    first: IpAddr,
    /// How many leading bits its addresses share.
    bits: u8,
}

impl Network {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "it has no IP address")?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => all,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|count| *count <= all && bits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or("the number of bits is wrong")?,
        };
        let network = Self {
            first: address,
            bits,
        };
        if network.masked(address) != number(address).0 {
            // Which of the two was meant is not to be guessed where it is about trust.
            return Err("its address has bits beyond those that count");
        }
        Ok(network)
    }

    /// Whether this address is one of them. An IPv4 address within IPv6 counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && self.masked(address) == number(self.first).0
    }

    fn masked(&self, address: IpAddr) -> u128 {
        let (number, all) = number(address);
        let beyond = u32::from(all - self.bits.min(all));
        number
            .checked_shr(beyond)
            .unwrap_or(0)
            .checked_shl(beyond)
            .unwrap_or(0)
    }
}

/// An address as a number, and of how many bits.
fn number(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(ip) => (u32::from(ip).into(), 32),
        IpAddr::V6(ip) => (ip.into(), 128),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

pub(super) fn list(entries: &[Written]) -> Result<Vec<Network>, String> {
    let network = |entry: &Written| {
        Network::parse(entry.as_str()).map_err(|why| {
            format!(
                "{entry} is not a network: {why}; it looks like 127.0.0.1, 10.0.0.0/8 or fd00::/8"
            )
        })
    };
    entries.iter().map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_and_the_bits_that_count() {
        for (text, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("::1", "::1", "127.0.0.1"),
            ("fd00::/8", "fdff::1", "fc00::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let network = Network::parse(text).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(
                !network.contains(outside.parse().unwrap()),
                "{text} {outside}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.1/8",
            "::/129",
            "localhost",
            "10/8",
        ] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }
}
