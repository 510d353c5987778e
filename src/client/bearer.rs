//! A client that proves who it is by a token (auth_type oauth).

use super::context::Shared;
use super::entry::Entry;
use super::login::{LoginEnd, encode, response, wipe};
use super::report::Trouble;
use super::startup::Wish;
use crate::auth::hba::{EntryError, Reason};
use crate::auth::oauth::{Exchange, Heard, Names, OAuth, Token};
use crate::credentials::issuers::{Fetching, Refused};
use crate::net::stream::Stream;
use crate::roster::ClientAddress;
use crate::wire::frame::HEADER;
use std::time::SystemTime;
use zeroize::Zeroizing;

/// Asks for a token and looks at it. Returns what the client has sent behind it. Who fails is told where to get one, as in
/// PostgreSQL, and heard once more.
pub(super) async fn prove(
    stream: &mut Stream,
    shared: &Shared,
    (entry, oauth, wish, address): (&Entry, &OAuth, &Wish, ClientAddress),
    out: &mut Vec<u8>,
) -> Result<Vec<u8>, LoginEnd> {
    let refuse = |why: String| Trouble::Entry(EntryError::new(&wish.user, Reason::OAuth(why)));
    if !is_unheard(stream, address, oauth) {
        return Err(refuse("tokens are taken over TLS only".to_owned()).into());
    }
    let mut buffer = Zeroizing::new(Vec::new());
    let mut failed = String::new();
    let (mut exchange, mut request) = Exchange::start();
    loop {
        encode(&request, out);
        stream.write_all(out).await?;
        out.clear();
        let size = response(stream, &mut buffer, wish).await?;
        let heard = exchange.on_response(&buffer[HEADER..size]);
        wipe(&mut buffer, size);
        match heard.map_err(Trouble::Token)? {
            Heard::Ask(next, say) => {
                (exchange, request) = (next, say);
                continue;
            }
            Heard::Token(token) => match check(shared, oauth, &token).await {
                Ok(names) => match entry.token_objection(&names, wish) {
                    None => return Ok(std::mem::take(&mut *buffer)),
                    Some(why) => failed = why,
                },
                Err(error) => failed = error.to_string(),
            },
            Heard::NoToken => "it asked where to get a token, or has none".clone_into(&mut failed),
            Heard::Over => return Err(refuse(failed).into()),
        }
        (exchange, request) = Exchange::fail(oauth);
    }
}

/// Whether nobody else can hear what the client says: a token is good for whoever has it.
fn is_unheard(stream: &Stream, address: ClientAddress, oauth: &OAuth) -> bool {
    let is_here = |address: ClientAddress| match address {
        ClientAddress::Unix => true,
        ClientAddress::Tcp(address) => oauth.is_loopback_allowed && address.ip().to_canonical().is_loopback(),
    };
    // The address may be a load balancer's word.
    let peer = stream.peer_address().map_or(ClientAddress::Unix, ClientAddress::Tcp);
    stream.tls().is_some() || (is_here(address) && is_here(peer))
}

async fn check(shared: &Shared, oauth: &OAuth, token: &str) -> Result<Names, Refused> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let token = Token::read(token, oauth, now)?;
    let by = Fetching { runtime: shared.runtime.clone(), tls: shared.directory_tls.load_full() };
    shared.issuers.verify(token, oauth, &by).await
}
