-- Who may administer: people with a password, and keys for programs. Of a key only its digest is kept, of a password
-- only its argon2id hash.
CREATE TABLE admin (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    role       TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    -- A key's digest under the pepper; a person has none.
    digest     BLOB UNIQUE CHECK (length(digest) = 32),
    -- A person's hash in PHC form; a key has none.
    password   TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    removed_at INTEGER,
    -- Counts the changes: sessions of before a change of the password or the role are over.
    version    INTEGER NOT NULL,
    CHECK ((digest IS NULL) <> (password IS NULL))
) STRICT;

CREATE UNIQUE INDEX admin_live_name ON admin (name) WHERE removed_at IS NULL;

-- The one link by which a first admin is made. It is gone with its use.
CREATE TABLE admin_claim (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    digest     BLOB NOT NULL CHECK (length(digest) = 32),
    expires_at INTEGER NOT NULL
) STRICT;

-- What was asked of the API under an idempotency key, for as long as it may be repeated.
CREATE TABLE admin_order (
    -- Of who asked and the idempotency key.
    digest   BLOB PRIMARY KEY CHECK (length(digest) = 32),
    -- Of what was asked.
    content  BLOB NOT NULL CHECK (length(content) = 32),
    begun_at INTEGER NOT NULL,
    -- Absent while it is being done.
    status   INTEGER,
    -- What was answered; for an answer with a secret the id of what was made.
    answer   TEXT,
    is_whole INTEGER NOT NULL DEFAULT 0 CHECK (is_whole IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE INDEX admin_order_by_age ON admin_order (begun_at);
