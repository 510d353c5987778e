//! The SQLSTATE codes pgweir itself uses, named as in PostgreSQL's Appendix A.

/// A five-character SQLSTATE.
pub type SqlState = &'static str;

/// successful_completion: notices
pub const SUCCESSFUL_COMPLETION: SqlState = "00000";
/// warning
pub const WARNING: SqlState = "01000";
/// connection_failure
pub const CONNECTION_FAILURE: SqlState = "08006";
/// sqlclient_unable_to_establish_sqlconnection
pub const UNABLE_TO_CONNECT: SqlState = "08001";
/// protocol_violation
pub const PROTOCOL_VIOLATION: SqlState = "08P01";
/// feature_not_supported
pub const FEATURE_NOT_SUPPORTED: SqlState = "0A000";
/// character_not_in_repertoire
pub const CHARACTER_NOT_IN_REPERTOIRE: SqlState = "22021";
/// invalid_parameter_value
pub const INVALID_PARAMETER_VALUE: SqlState = "22023";
/// invalid_authorization_specification
pub const INVALID_AUTHORIZATION: SqlState = "28000";
/// invalid_password
pub const INVALID_PASSWORD: SqlState = "28P01";
/// invalid_catalog_name
pub const INVALID_CATALOG_NAME: SqlState = "3D000";
/// too_many_connections
pub const TOO_MANY_CONNECTIONS: SqlState = "53300";
/// object_not_in_prerequisite_state
pub const NOT_IN_PREREQUISITE_STATE: SqlState = "55000";
/// config_file_error
pub const CONFIG_FILE_ERROR: SqlState = "F0000";
/// program_limit_exceeded
pub const PROGRAM_LIMIT_EXCEEDED: SqlState = "54000";
/// query_canceled
pub const QUERY_CANCELED: SqlState = "57014";
/// admin_shutdown
pub const ADMIN_SHUTDOWN: SqlState = "57P01";
/// cannot_connect_now
pub const CANNOT_CONNECT_NOW: SqlState = "57P03";
/// idle_session_timeout
pub const IDLE_SESSION_TIMEOUT: SqlState = "57P05";
/// transaction_timeout
pub const TRANSACTION_TIMEOUT: SqlState = "25P04";
/// idle_in_transaction_session_timeout
pub const IDLE_IN_TRANSACTION_TIMEOUT: SqlState = "25P03";
