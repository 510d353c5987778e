//! Prepared statements as pure rules: one text is one statement for all clients, each client has its own names, each
//! server knows some of the statements. Never talks to a server.
pub mod by_name;
pub mod client_names;
pub mod client_statements;
pub mod name_sets;
pub mod registry;
pub mod rewrite;
pub mod server_names;
pub mod shape;
