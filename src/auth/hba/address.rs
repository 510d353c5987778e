//! Where a client comes from, as a line has it.

use std::net::IpAddr;

use super::token::Token;

/// An address of this machine, and the net it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The address.
    pub address: IpAddr,
    /// Its net mask, of the same family.
    pub mask: IpAddr,
}

/// Addresses a line is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    All,
    SameHost,
    SameNet,
    Net(Interface),
}

const ALLOWED: &str = "all, samehost, samenet, an address with the length of its net such as 192.0.2.0/24 or 2001:db8::/32, \
                       or an address and a mask in two fields";

impl Address {
    /// From the address field and, where that has no `/`, the next one. Also how many fields it took.
    pub(super) fn parse(token: &Token, next: Option<&Token>) -> Result<(Self, usize), String> {
        for (word, address) in [("all", Self::All), ("samehost", Self::SameHost), ("samenet", Self::SameNet)]
        {
            if token.is(word) {
                return Ok((address, 1));
            }
        }
        let (text, length) = match token.text.split_once('/') {
            Some((text, length)) => (text, Some(length)),
            None => (&*token.text, None),
        };
        let Ok(address) = text.parse::<IpAddr>() else {
            return Err(format!(
                "{:?} is no address; allowed are {ALLOWED}. Host names aren't: a name server's answer would let clients in",
                token.text
            ));
        };
        let (mask, taken) = match length {
            Some(length) => (mask_of(address, length), 1),
            None => {
                let Some(next) = next else { return Err(format!("the mask of {text} is missing")) };
                (next.text.parse().ok().filter(|mask: &IpAddr| mask.is_ipv4() == address.is_ipv4()), 2)
            }
        };
        match (mask, length, next) {
            (Some(mask), ..) => Ok((Self::Net(Interface { address, mask }), taken)),
            (None, Some(length), _) => {
                let most = if address.is_ipv4() { 32 } else { 128 };
                Err(format!(
                    "{length:?} is no length of a net; behind {text}/ belongs a number from 0 to {most}"
                ))
            }
            (None, None, next) => Err(format!(
                "{:?} is no mask for {text}; write {text}/{} for this address alone",
                next.map_or("", |next| &next.text),
                if address.is_ipv4() { 32 } else { 128 }
            )),
        }
    }

    /// Whether a client's address is one of them. `interfaces` is asked only where the line depends on it.
    pub(super) fn matches(&self, client: IpAddr, interfaces: &dyn Fn() -> Vec<Interface>) -> bool {
        match self {
            Self::All => true,
            Self::SameHost => interfaces().iter().any(|own| own.address == client),
            Self::SameNet => interfaces().iter().any(|own| own.holds(client)),
            Self::Net(net) => net.holds(client),
        }
    }
}

impl Interface {
    fn holds(&self, client: IpAddr) -> bool {
        match (self.address, self.mask, client) {
            (IpAddr::V4(net), IpAddr::V4(mask), IpAddr::V4(client)) => {
                (net.to_bits() ^ client.to_bits()) & mask.to_bits() == 0
            }
            (IpAddr::V6(net), IpAddr::V6(mask), IpAddr::V6(client)) => {
                (net.to_bits() ^ client.to_bits()) & mask.to_bits() == 0
            }
            _ => false,
        }
    }
}

fn mask_of(address: IpAddr, length: &str) -> Option<IpAddr> {
    let digits = !length.is_empty() && length.bytes().all(|digit| digit.is_ascii_digit());
    let length: u32 = length.parse().ok().filter(|_| digits)?;
    match address {
        IpAddr::V4(_) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(length)?).unwrap_or(0);
            Some(IpAddr::V4(mask.into()))
        }
        IpAddr::V6(_) => {
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(length)?).unwrap_or(0);
            Some(IpAddr::V6(mask.into()))
        }
    }
}
