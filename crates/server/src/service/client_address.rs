//! Where a request really comes from, when there is a proxy in between.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::HeaderMap;
use serde::{Deserialize, Deserializer};

/// Addresses with a common beginning, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The header in which proxies say for whom they ask. Exactly one is believed: a proxy that writes
/// one of them may pass on the other as a client made it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ForwardedHeader {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

impl FromStr for ForwardedHeader {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err("it is x-forwarded-for or forwarded"),
        }
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let same = |own: u128, other: u128, bits: u8| {
            let shift = u32::from(bits - self.prefix);
            own.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
        };
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same(own.to_bits().into(), other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

/// Not the name of a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a network such as 10.0.0.0/8 or fd00::/8")]
pub struct NetworkError {
    /// What was given.
    pub text: String,
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError { text: text.to_owned() };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| error())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix <= bits { Ok(Self { address, prefix }) } else { Err(error()) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The client's address: the connection's, unless that is a trusted proxy's. Then it is the last
/// address in the header that is not a trusted proxy's too; what stands before it may be made up.
pub(crate) fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[Network],
    header: ForwardedHeader,
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let lines: Vec<&str> =
        headers.get_all(header.name()).iter().filter_map(|value| value.to_str().ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let address = match header {
            ForwardedHeader::XForwardedFor => address(hop.trim()),
            ForwardedHeader::Forwarded => hop.split(';').find_map(|pair| {
                let (name, value) = pair.trim().split_once('=')?;
                name.eq_ignore_ascii_case("for").then(|| address(value.trim_matches('"')))?
            }),
        };
        // Whoever wrote it can no longer be told apart from the one that passed it on.
        let Some(address) = address else { return client };
        client = address.to_canonical();
        if !is_trusted(client) {
            return client;
        }
    }
    client
}

/// An address, also with a port, and an IPv6 address in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.parse().ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare().or_else(bracketed).or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, header: ForwardedHeader, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8", "fd00::/8", "192.0.2.7"].map(|text| text.parse().unwrap());
        client_address(peer.parse().unwrap(), &headers, &trusted, header).to_string()
    }

    #[test]
    fn only_trusted_proxies_speak_for_others() {
        use ForwardedHeader::{Forwarded, XForwardedFor};
        let xff = "x-forwarded-for";
        for (peer, header, lines, client) in [
            ("198.51.100.1", XForwardedFor, &[(xff, "203.0.113.5")][..], "198.51.100.1"),
            ("10.1.2.3", XForwardedFor, &[], "10.1.2.3"),
            ("10.1.2.3", XForwardedFor, &[(xff, "203.0.113.5")], "203.0.113.5"),
            ("::ffff:10.1.2.3", XForwardedFor, &[(xff, "203.0.113.5")], "203.0.113.5"),
            // The client wrote the first two.
            ("10.1.2.3", XForwardedFor, &[(xff, "1.1.1.1, 10.9.9.9, 203.0.113.5")], "203.0.113.5"),
            ("10.1.2.3", XForwardedFor, &[(xff, "203.0.113.5, 10.9.9.9")], "203.0.113.5"),
            ("10.1.2.3", XForwardedFor, &[(xff, "1.1.1.1"), (xff, "203.0.113.5")], "203.0.113.5"),
            ("10.1.2.3", XForwardedFor, &[(xff, "203.0.113.5:1234")], "203.0.113.5"),
            ("10.1.2.3", XForwardedFor, &[(xff, "203.0.113.5, nonsense")], "10.1.2.3"),
            ("10.1.2.3", XForwardedFor, &[("forwarded", "for=1.1.1.1")], "10.1.2.3"),
            ("10.1.2.3", Forwarded, &[(xff, "1.1.1.1")], "10.1.2.3"),
            (
                "192.0.2.7",
                Forwarded,
                &[("forwarded", "for=1.1.1.1, proto=https;For=\"[2001:db8::1]:80\"")],
                "2001:db8::1",
            ),
            ("fd00::1", Forwarded, &[("forwarded", "for=unknown")], "fd00::1"),
        ] {
            assert_eq!(found(peer, header, lines), client, "{peer} {lines:?}");
        }
    }

    #[test]
    fn networks() {
        for text in ["10.0.0.0/8", "::/0", "0.0.0.0/0", "fd00::/8"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        let everything: Network = "0.0.0.0/0".parse().unwrap();
        assert!(everything.contains("203.0.113.5".parse().unwrap()));
        assert!(!everything.contains("2001:db8::1".parse().unwrap()));
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "a/8", "10.0.0.0/-1"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
