//! One connection to PostgreSQL: the replies it owes, the state it carries, how it is opened and closed.
pub mod conversation;
pub mod exchange;
