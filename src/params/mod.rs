//! Session parameters as pure rules: what a client wants, what a server has, the SQL between them, and which
//! statements leave session state behind. Never talks to a server.
pub mod calls;
pub mod catalog;
pub mod context;
pub mod custom;
pub mod custom_names;
pub mod difference;
pub mod drivers;
pub mod inspection;
pub mod refusable;
pub mod restore;
pub mod routines;
pub mod set;
pub mod statement;
pub mod traces;
pub mod tracked;
