//! How somebody proves who they are: rules by origin, stored secrets, wrong guesses, MD5, SCRAM-SHA-256, and a client's login as a state machine.
//! Pure: bytes in, decisions out; random bytes are passed in. Never reads a socket, a file or a clock.

pub mod attempts;
pub mod hba;
pub mod login;
pub mod md5;
pub mod oauth;
pub mod scram;
pub mod secret;
pub mod token;
