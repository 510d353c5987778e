//! LDAP (RFC 4511) as far as passwords are checked by it: a bind, a search, StartTLS and farewell go out; what comes back is
//! bounded, and read without recursion. Nothing here knows a socket.

pub mod answer;
mod ber;
mod filter;
pub mod request;
