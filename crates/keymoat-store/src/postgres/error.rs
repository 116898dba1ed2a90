//! PostgreSQL's errors as the store's. Only codes and main messages go on: a detail may hold the values of a row.

use tokio_postgres::error::SqlState;

use crate::error::StoreError;

/// What a statement failed with.
pub(super) fn failed(error: &tokio_postgres::Error) -> StoreError {
    let Some(told) = error.as_db_error() else {
        // The connection broke, or a value is not what the schema says.
        return if error.is_closed()
            || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
        {
            StoreError::DatabaseLost
        } else {
            StoreError::Database { code: "-".to_owned(), message: plain(error) }
        };
    };
    let code = told.code();
    if matches!(*code, SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE | SqlState::T_R_DEADLOCK_DETECTED)
        || *code == SqlState::T_R_SERIALIZATION_FAILURE
        || *code == SqlState::TOO_MANY_CONNECTIONS
    {
        return StoreError::DatabaseBusy;
    }
    if *code == SqlState::DISK_FULL {
        return StoreError::DatabaseFull;
    }
    // Class 57P: shutdown and crash; class 08: the connection; class 25006: a standby.
    if code.code().starts_with("57P") || code.code().starts_with("08") || *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return StoreError::DatabaseLost;
    }
    StoreError::Database { code: code.code().to_owned(), message: told.message().to_owned() }
}

/// Why there is no connection.
pub(super) fn unreachable(place: &str, error: &tokio_postgres::Error) -> StoreError {
    let why = match error.as_db_error() {
        Some(told) => told.message().to_owned(),
        None => plain(error),
    };
    StoreError::DatabaseUnreachable { place: place.to_owned(), why }
}

/// Why the pool gave no connection.
pub(super) fn pooled(place: &str, error: &deadpool_postgres::PoolError) -> StoreError {
    use deadpool_postgres::PoolError as Pool;
    match error {
        Pool::Timeout(deadpool_postgres::TimeoutType::Wait) => StoreError::DatabaseBusy,
        Pool::Backend(error) => unreachable(place, error),
        Pool::Timeout(_) => {
            StoreError::DatabaseUnreachable { place: place.to_owned(), why: "it did not answer in time".to_owned() }
        }
        _ => StoreError::Unavailable,
    }
}

/// The words of the driver and of what is below it. Neither knows a value of a row or a password.
fn plain(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
