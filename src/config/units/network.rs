//! Networks: an address, or one with the number of its leading bits that count.
use std::fmt;
use std::net::IpAddr;

use super::text::ListWritten;
use super::{Refusal, Unit};

/// The addresses that begin as this one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => {
                bits.parse().ok().filter(|n| *n <= most && bits.bytes().all(|b| b.is_ascii_digit()))?
            }
        };
        Some(Self { address, bits })
    }

    /// Whether an address is of this network. IPv4 that came by an IPv6 socket counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Networks in an array or separated by commas.
pub(in crate::config) struct Networks;

impl Unit for Networks {
    type Written = ListWritten;
    type Value = Vec<Network>;

    fn allowed() -> String {
        r#"networks such as "10.0.0.0/8, ::1" or ["10.0.0.0/8", "::1"], or "" for none"#.to_owned()
    }

    fn accept(written: ListWritten) -> Result<Vec<Network>, Refusal> {
        let parse = |item: String| {
            Network::parse(&item).ok_or_else(|| Refusal::because(format!("{item:?} is no network")))
        };
        written.items().into_iter().map(parse).collect()
    }

    fn show(value: &Vec<Network>) -> String {
        let all: Vec<String> = value.iter().map(Network::to_string).collect();
        format!("{:?}", all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_network() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.2", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("fe80::/10", "fe80::1", true),
            ("fe80::/10", "fec0::1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
        }
        for text in ["", "10", "10.0.0.0/33", "::/129", "1.2.3.4/", "1.2.3.4/+8", "localhost"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
