-- Keys, upstreams' secrets and tokens, as the SQLite store has them. Credentials and resumption handles are kept only as
-- HMAC-SHA-256 under the pepper; times are milliseconds since 1970 (UTC).

-- The clock that decides about tokens: the same for all nodes, and read when it is asked, not when the transaction began.
CREATE FUNCTION keymoat_now() RETURNS bigint LANGUAGE sql VOLATILE AS
    $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

CREATE TABLE pepper (
    version bigint PRIMARY KEY,
    -- The digest of a fixed text under this pepper: tells a wrong master key at once.
    proof   bytea NOT NULL CHECK (octet_length(proof) = 32)
);

CREATE TABLE api_key (
    number     bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    id         text PRIMARY KEY,
    name       text NOT NULL,
    -- Words separated by one space, as in RFC 6749 section 3.3; the single word `*` means all.
    scopes     text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    revoked_at bigint,
    -- When somebody is to be reminded of a rotation: at a moment, or at an age of the newest secret in milliseconds.
    rotate_at  bigint,
    rotate_age bigint CHECK (rotate_age > 0),
    -- Absent: no limit.
    requests_per_second   bigint CHECK (requests_per_second > 0),
    burst                 bigint CHECK (burst > 0),
    requests_per_day      bigint CHECK (requests_per_day > 0),
    bytes_per_day         bigint CHECK (bytes_per_day > 0),
    sessions_max          bigint CHECK (sessions_max > 0),
    session_duration_secs bigint CHECK (session_duration_secs > 0),
    session_bytes         bigint CHECK (session_bytes > 0),
    -- Names separated by one space.
    models                text
);

-- A revoked key gives its name free; an expired one keeps it until it is revoked.
CREATE UNIQUE INDEX api_key_live_name ON api_key (name) WHERE revoked_at IS NULL;

CREATE TABLE api_key_secret (
    digest         bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    pepper_version bigint NOT NULL REFERENCES pepper (version),
    api_key_id     text NOT NULL REFERENCES api_key (id),
    created_at     bigint NOT NULL,
    -- What logs and counts know it by.
    id             text NOT NULL UNIQUE,
    -- Counts up for each key; the highest is the newest.
    number         bigint NOT NULL,
    -- From when on it is refused. What has ended stays a while, so that its holder can be told.
    ends_at        bigint
);

CREATE INDEX api_key_secret_by_key ON api_key_secret (api_key_id);

-- What was counted of a day towards the limits of a key, of the store or of the configuration.
CREATE TABLE limit_use (
    key_id   text NOT NULL,
    -- Days since 1970 (UTC).
    day      bigint NOT NULL,
    requests bigint NOT NULL,
    bytes    bigint NOT NULL,
    PRIMARY KEY (key_id, day)
);

-- One row: counts the transactions that changed what a snapshot holds. Whoever changes it holds its lock until the commit
-- is visible, and so `seq` is in the order of commits. `mark` tells two histories with equal counts apart, such as after
-- a failover that lost a commit.
CREATE TABLE change (
    only_row integer PRIMARY KEY CHECK (only_row = 1),
    seq      bigint NOT NULL,
    mark     uuid NOT NULL
);

INSERT INTO change (only_row, seq, mark) VALUES (1, 0, gen_random_uuid());

CREATE TABLE upstream_secret (
    upstream    text NOT NULL,
    -- Counts up for each upstream and is never used twice, also after the secret was removed.
    version     bigint NOT NULL CHECK (version > 0),
    kek_id      bytea NOT NULL CHECK (octet_length(kek_id) = 16),
    -- AES-256-GCM: nonce, ciphertext, tag.
    wrapped_dek bytea CHECK (octet_length(wrapped_dek) = 12 + 32 + 16),
    sealed      bytea CHECK (octet_length(sealed) BETWEEN 12 + 1 + 16 AND 12 + 16384 + 16),
    created_at  bigint NOT NULL,
    retired_at  bigint,
    PRIMARY KEY (upstream, version),
    -- A retired version leaves its dates behind and nothing that could be opened.
    CHECK ((retired_at IS NULL) = (wrapped_dek IS NOT NULL)),
    CHECK ((retired_at IS NULL) = (sealed IS NOT NULL))
);

CREATE UNIQUE INDEX upstream_secret_live ON upstream_secret (upstream) WHERE retired_at IS NULL;

CREATE TABLE token (
    number         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             text NOT NULL UNIQUE,
    digest         bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    pepper_version bigint NOT NULL REFERENCES pepper (version),
    -- The key that it was minted from: one of `api_key`, or one of the configuration, which only the gateway knows.
    key_id         text NOT NULL,
    key_is_stored  boolean NOT NULL,
    -- Words separated by one space; the single word `*` means all that the key may use.
    scopes         text NOT NULL,
    calls          text NOT NULL CHECK (calls IN ('any', 'live')),
    -- Absent: the sessions are not counted.
    uses_max       bigint CHECK (uses_max > 0),
    uses_left      bigint CHECK (uses_left BETWEEN 0 AND uses_max),
    created_at     bigint NOT NULL,
    start_by       bigint NOT NULL,
    live_until     bigint NOT NULL,
    revoked_at     bigint,
    CHECK ((uses_max IS NULL) = (uses_left IS NULL))
) WITH (fillfactor = 70);

-- No index names `uses_left`, so that consuming a use writes one page.
CREATE INDEX token_open ON token (key_id, start_by) WHERE revoked_at IS NULL;

-- What has expired long ago is forgotten in this order.
CREATE INDEX token_by_end ON token (live_until);

CREATE INDEX token_revoked ON token (id) WHERE revoked_at IS NOT NULL;

CREATE TABLE token_terms (
    token             bigint PRIMARY KEY REFERENCES token (number) ON DELETE CASCADE,
    -- Origins separated by one space; absent: any.
    origins           text,
    duration_secs_max bigint CHECK (duration_secs_max >= 0),
    bytes_max         bigint CHECK (bytes_max >= 0),
    messages_max      bigint CHECK (messages_max >= 0),
    -- Canonical JSON.
    constraints       text NOT NULL
);

-- The sessions that tokens opened, for as long as a claim might be repeated.
CREATE TABLE token_session (
    sid       bytea PRIMARY KEY CHECK (octet_length(sid) = 16),
    token     bigint NOT NULL,
    resumed   boolean NOT NULL,
    opened_at bigint NOT NULL
);

-- Sessions are forgotten by time, and written in that order.
CREATE INDEX token_session_by_age ON token_session USING brin (opened_at);

CREATE TABLE token_handle (
    number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token    bigint NOT NULL REFERENCES token (number) ON DELETE CASCADE,
    handle   bytea NOT NULL CHECK (octet_length(handle) = 32),
    given_at bigint NOT NULL,
    UNIQUE (token, handle)
);

CREATE INDEX token_handle_by_age ON token_handle (token, number);

CREATE TABLE token_order (
    token   bigint PRIMARY KEY REFERENCES token (number) ON DELETE CASCADE,
    -- Of the key's id and the idempotency key.
    digest  bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    -- Of what was ordered.
    content bytea NOT NULL CHECK (octet_length(content) = 32),
    -- The token's secret is drawn from it under the pepper.
    seed    bytea NOT NULL CHECK (octet_length(seed) = 32)
);
