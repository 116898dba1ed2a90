-- What happened, and how much of it: in a database of its own, so that writing events never delays a claim. Nothing
-- in here is a credential. Times are milliseconds since 1970 (UTC); what is absent in a count's key is ''.

-- The number of the next event. Numbers are given without gaps and never twice, also when old events are deleted.
CREATE TABLE next_event (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL CHECK (seq > 0)
) STRICT;

INSERT INTO next_event (id, seq) VALUES (1, 1);

CREATE TABLE event (
    seq      INTEGER PRIMARY KEY,
    -- When it was written down: in the order of `seq`, as far as the clock allows.
    at       INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    type     TEXT NOT NULL,
    severity INTEGER NOT NULL,
    outcome  TEXT,
    code     TEXT,
    route    TEXT,
    carrier  TEXT,
    key_id   TEXT,
    token_id TEXT,
    -- One JSON object without `seq`, masked.
    body     TEXT NOT NULL
) STRICT;

CREATE INDEX event_by_key ON event (key_id, seq) WHERE key_id IS NOT NULL;
CREATE INDEX event_by_token ON event (token_id, seq) WHERE token_id IS NOT NULL;
CREATE INDEX event_by_route ON event (route, seq) WHERE route IS NOT NULL;
CREATE INDEX event_by_carrier ON event (carrier, seq) WHERE carrier IS NOT NULL;
CREATE INDEX event_by_code ON event (code, seq) WHERE code IS NOT NULL;
CREATE INDEX event_not_allowed ON event (outcome, seq) WHERE outcome <> 'allowed';
CREATE INDEX event_grave ON event (seq) WHERE severity > 0;
CREATE INDEX event_rare ON event (seq) WHERE kind IN ('act', 'lost');

-- Counts of decisions, by the hour and the day that the requests came in.
CREATE TABLE usage_hour (
    start         INTEGER NOT NULL,
    route         TEXT NOT NULL,
    carrier       TEXT NOT NULL,
    credential    TEXT NOT NULL,
    in_url        TEXT NOT NULL,
    outcome       TEXT NOT NULL,
    code          TEXT NOT NULL,
    requests      INTEGER NOT NULL,
    sessions      INTEGER NOT NULL,
    bytes_in      INTEGER NOT NULL,
    bytes_out     INTEGER NOT NULL,
    let_in_by_url INTEGER NOT NULL,
    copies        INTEGER NOT NULL,
    echoes        INTEGER NOT NULL,
    first_at      INTEGER NOT NULL,
    last_at       INTEGER NOT NULL,
    PRIMARY KEY (start, route, carrier, credential, in_url, outcome, code)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_day (
    start         INTEGER NOT NULL,
    route         TEXT NOT NULL,
    carrier       TEXT NOT NULL,
    credential    TEXT NOT NULL,
    in_url        TEXT NOT NULL,
    outcome       TEXT NOT NULL,
    code          TEXT NOT NULL,
    requests      INTEGER NOT NULL,
    sessions      INTEGER NOT NULL,
    bytes_in      INTEGER NOT NULL,
    bytes_out     INTEGER NOT NULL,
    let_in_by_url INTEGER NOT NULL,
    copies        INTEGER NOT NULL,
    echoes        INTEGER NOT NULL,
    first_at      INTEGER NOT NULL,
    last_at       INTEGER NOT NULL,
    PRIMARY KEY (start, route, carrier, credential, in_url, outcome, code)
) STRICT, WITHOUT ROWID;

-- The same by key and secret, with the key first: one key's counts lie together.
CREATE TABLE usage_key_hour (
    key_id        TEXT NOT NULL,
    start         INTEGER NOT NULL,
    secret_id     TEXT NOT NULL,
    route         TEXT NOT NULL,
    carrier       TEXT NOT NULL,
    credential    TEXT NOT NULL,
    in_url        TEXT NOT NULL,
    outcome       TEXT NOT NULL,
    code          TEXT NOT NULL,
    requests      INTEGER NOT NULL,
    sessions      INTEGER NOT NULL,
    bytes_in      INTEGER NOT NULL,
    bytes_out     INTEGER NOT NULL,
    let_in_by_url INTEGER NOT NULL,
    copies        INTEGER NOT NULL,
    echoes        INTEGER NOT NULL,
    first_at      INTEGER NOT NULL,
    last_at       INTEGER NOT NULL,
    PRIMARY KEY (key_id, start, secret_id, route, carrier, credential, in_url, outcome, code)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_key_hour_by_start ON usage_key_hour (start);
CREATE INDEX usage_key_hour_by_url ON usage_key_hour (start) WHERE let_in_by_url > 0;

CREATE TABLE usage_key_day (
    key_id        TEXT NOT NULL,
    start         INTEGER NOT NULL,
    secret_id     TEXT NOT NULL,
    route         TEXT NOT NULL,
    carrier       TEXT NOT NULL,
    credential    TEXT NOT NULL,
    in_url        TEXT NOT NULL,
    outcome       TEXT NOT NULL,
    code          TEXT NOT NULL,
    requests      INTEGER NOT NULL,
    sessions      INTEGER NOT NULL,
    bytes_in      INTEGER NOT NULL,
    bytes_out     INTEGER NOT NULL,
    let_in_by_url INTEGER NOT NULL,
    copies        INTEGER NOT NULL,
    echoes        INTEGER NOT NULL,
    first_at      INTEGER NOT NULL,
    last_at       INTEGER NOT NULL,
    PRIMARY KEY (key_id, start, secret_id, route, carrier, credential, in_url, outcome, code)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_key_day_by_start ON usage_key_day (start);
CREATE INDEX usage_key_day_by_url ON usage_key_day (start) WHERE let_in_by_url > 0;

-- When each secret of a key was last seen in each carrier.
CREATE TABLE last_seen (
    key_id     TEXT NOT NULL,
    secret_id  TEXT NOT NULL,
    carrier    TEXT NOT NULL,
    route      TEXT NOT NULL,
    credential TEXT NOT NULL,
    first_at   INTEGER NOT NULL,
    last_at    INTEGER NOT NULL,
    allowed    INTEGER NOT NULL,
    refused    INTEGER NOT NULL,
    -- The last client's own name for itself, masked; where it came by a URL.
    user_agent TEXT NOT NULL,
    PRIMARY KEY (key_id, secret_id, carrier, route, credential)
) STRICT, WITHOUT ROWID;

CREATE INDEX last_seen_by_age ON last_seen (last_at);
