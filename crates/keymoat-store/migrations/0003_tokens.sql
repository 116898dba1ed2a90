-- Short-lived tokens. A token and a resumption handle are kept only as HMAC-SHA-256 under the pepper; times are
-- milliseconds since 1970 (UTC).

CREATE TABLE token (
    -- Counts up and is never used twice, so that what is left of a token that was forgotten belongs to no other.
    number         INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL UNIQUE,
    digest         BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    pepper_version INTEGER NOT NULL REFERENCES pepper (version),
    -- The key that it was minted from: one of `api_key`, or one of the configuration, which only the gateway knows.
    key_id         TEXT NOT NULL,
    key_is_stored  INTEGER NOT NULL CHECK (key_is_stored IN (0, 1)),
    -- Words separated by one space; the single word `*` means all that the key may use.
    scopes         TEXT NOT NULL,
    calls          TEXT NOT NULL CHECK (calls IN ('any', 'live')),
    -- Absent: the sessions are not counted.
    uses_max       INTEGER CHECK (uses_max > 0),
    uses_left      INTEGER CHECK (uses_left BETWEEN 0 AND uses_max),
    created_at     INTEGER NOT NULL,
    start_by       INTEGER NOT NULL,
    live_until     INTEGER NOT NULL,
    revoked_at     INTEGER,
    CHECK ((uses_max IS NULL) = (uses_left IS NULL))
) STRICT;

-- The tokens of a key that may still open sessions.
CREATE INDEX token_open ON token (key_id, start_by) WHERE revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0);

-- What has expired long ago is forgotten in this order.
CREATE INDEX token_by_end ON token (live_until);

CREATE INDEX token_revoked ON token (id) WHERE revoked_at IS NOT NULL;

-- What is read when a session begins, apart from what changes with each use.
CREATE TABLE token_terms (
    token             INTEGER PRIMARY KEY REFERENCES token (number) ON DELETE CASCADE,
    -- Origins separated by one space; absent: any.
    origins           TEXT,
    duration_secs_max INTEGER CHECK (duration_secs_max >= 0),
    bytes_max         INTEGER CHECK (bytes_max >= 0),
    messages_max      INTEGER CHECK (messages_max >= 0),
    -- Canonical JSON.
    constraints       TEXT NOT NULL
) STRICT;

-- The sessions that tokens opened, for as long as a claim might be repeated.
CREATE TABLE token_session (
    number    INTEGER PRIMARY KEY,
    sid       BLOB NOT NULL UNIQUE CHECK (length(sid) = 16),
    token     INTEGER NOT NULL,
    resumed   INTEGER NOT NULL CHECK (resumed IN (0, 1)),
    opened_at INTEGER NOT NULL
) STRICT;

-- The resumption handles that a token's sessions were given.
CREATE TABLE token_handle (
    number   INTEGER PRIMARY KEY,
    token    INTEGER NOT NULL REFERENCES token (number) ON DELETE CASCADE,
    handle   BLOB NOT NULL CHECK (length(handle) = 32),
    given_at INTEGER NOT NULL,
    UNIQUE (token, handle)
) STRICT;

CREATE INDEX token_handle_by_age ON token_handle (token);

-- Orders with an idempotency key. The token's secret is drawn from `seed` under the pepper, so that it can be given
-- again to whoever repeats the order, and is kept nowhere.
CREATE TABLE token_order (
    token    INTEGER PRIMARY KEY REFERENCES token (number) ON DELETE CASCADE,
    -- Of the key's id and the idempotency key.
    digest   BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    -- Of what was ordered.
    content  BLOB NOT NULL CHECK (length(content) = 32),
    seed     BLOB NOT NULL CHECK (length(seed) = 32)
) STRICT;
