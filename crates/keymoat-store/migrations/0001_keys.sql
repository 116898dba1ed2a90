-- Long-lived keys. A credential is kept only as HMAC-SHA-256 under the pepper; times are milliseconds since 1970 (UTC).

CREATE TABLE pepper (
    version INTEGER PRIMARY KEY,
    -- The digest of a fixed text under this pepper: tells a wrong master key at once.
    proof   BLOB NOT NULL CHECK (length(proof) = 32)
) STRICT;

CREATE TABLE api_key (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    -- Words separated by one space, as in RFC 6749 section 3.3; the single word `*` means all.
    scopes     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;

-- A revoked key gives its name free; an expired one keeps it until it is revoked.
CREATE UNIQUE INDEX api_key_live_name ON api_key (name) WHERE revoked_at IS NULL;

-- A table of its own, because a key has two secrets while it is rotated.
CREATE TABLE api_key_secret (
    digest         BLOB PRIMARY KEY CHECK (length(digest) = 32),
    pepper_version INTEGER NOT NULL REFERENCES pepper (version),
    api_key_id     TEXT NOT NULL REFERENCES api_key (id),
    created_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX api_key_secret_by_key ON api_key_secret (api_key_id);

-- One row: counts the transactions that changed what a snapshot holds, in commit order, because SQLite has one writer.
CREATE TABLE change (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    seq      INTEGER NOT NULL
) STRICT;

INSERT INTO change (only_row, seq) VALUES (1, 0);
