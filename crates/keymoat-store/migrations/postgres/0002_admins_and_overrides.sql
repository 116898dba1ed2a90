-- Who may administer: people with a password, and keys for programs. Of a key only its digest is kept, of a password
-- only its argon2id hash. Times are milliseconds since 1970 (UTC).
CREATE TABLE admin (
    id         text PRIMARY KEY,
    name       text NOT NULL,
    role       text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    -- A key's digest under the pepper; a person has none.
    digest     bytea UNIQUE CHECK (octet_length(digest) = 32),
    -- A person's hash in PHC form; a key has none.
    password   text,
    created_at bigint NOT NULL,
    expires_at bigint,
    removed_at bigint,
    -- Counts the changes: sessions of before a change of the password or the role are over.
    version    bigint NOT NULL,
    CHECK ((digest IS NULL) <> (password IS NULL))
);

CREATE UNIQUE INDEX admin_live_name ON admin (name) WHERE removed_at IS NULL;

-- The one link by which a first admin is made. It is gone with its use.
CREATE TABLE admin_claim (
    only_row   integer PRIMARY KEY CHECK (only_row = 1),
    digest     bytea NOT NULL CHECK (octet_length(digest) = 32),
    expires_at bigint NOT NULL
);

-- What was asked of the API under an idempotency key, for as long as it may be repeated.
CREATE TABLE admin_order (
    -- Of who asked and the idempotency key.
    digest   bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    -- Of what was asked.
    content  bytea NOT NULL CHECK (octet_length(content) = 32),
    begun_at bigint NOT NULL,
    -- Absent while it is being done.
    status   bigint,
    -- What was answered; for an answer with a secret the id of what was made.
    answer   text,
    is_whole boolean NOT NULL DEFAULT false
);

CREATE INDEX admin_order_by_age ON admin_order (begun_at);

-- What is changed in routes without their file.
CREATE TABLE route_override (
    route    text PRIMARY KEY,
    -- A field that is absent is the file's.
    query    text CHECK (query IN ('refuse', 'tokens', 'warn', 'allow')),
    -- One carrier a line, in the configuration's spelling.
    carriers text,
    sunset   bigint,
    made_at  bigint NOT NULL,
    made_by  text NOT NULL,
    note     text,
    CHECK (query IS NOT NULL OR carriers IS NOT NULL OR sunset IS NOT NULL)
);

-- The days on which keys in the URLs of a route ended, once they have been told of.
CREATE TABLE sunset_reached (
    route    text NOT NULL,
    sunset   bigint NOT NULL,
    noted_at bigint NOT NULL,
    PRIMARY KEY (route, sunset)
);
