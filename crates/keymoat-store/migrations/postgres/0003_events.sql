-- What happened on all nodes, and how much of it, as the SQLite store has it in a database of its own. Nothing
-- in here is a credential. Times are milliseconds since 1970 (UTC); what is absent in a count's key is ''.

-- The number of the next event. Numbers are given without gaps and never twice, also when old events are deleted.
-- Whoever appends holds the row until its commit is visible, so that numbers are in the order of commits.
CREATE TABLE next_event (
    id  bigint PRIMARY KEY CHECK (id = 1),
    seq bigint NOT NULL CHECK (seq > 0)
);

INSERT INTO next_event (id, seq) VALUES (1, 1);

CREATE TABLE event (
    seq      bigint PRIMARY KEY,
    -- When it was written down: in the order of `seq`, as far as the clock allows.
    at       bigint NOT NULL,
    kind     text NOT NULL,
    type     text NOT NULL,
    severity bigint NOT NULL,
    outcome  text,
    code     text,
    route    text,
    carrier  text,
    key_id   text,
    token_id text,
    -- One JSON object without `seq`, masked.
    body     text NOT NULL
);

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
    start         bigint NOT NULL,
    route         text NOT NULL,
    carrier       text NOT NULL,
    credential    text NOT NULL,
    in_url        text NOT NULL,
    outcome       text NOT NULL,
    code          text NOT NULL,
    requests      bigint NOT NULL,
    sessions      bigint NOT NULL,
    bytes_in      bigint NOT NULL,
    bytes_out     bigint NOT NULL,
    let_in_by_url bigint NOT NULL,
    copies        bigint NOT NULL,
    echoes        bigint NOT NULL,
    first_at      bigint NOT NULL,
    last_at       bigint NOT NULL,
    PRIMARY KEY (start, route, carrier, credential, in_url, outcome, code)
);

CREATE TABLE usage_day (
    start         bigint NOT NULL,
    route         text NOT NULL,
    carrier       text NOT NULL,
    credential    text NOT NULL,
    in_url        text NOT NULL,
    outcome       text NOT NULL,
    code          text NOT NULL,
    requests      bigint NOT NULL,
    sessions      bigint NOT NULL,
    bytes_in      bigint NOT NULL,
    bytes_out     bigint NOT NULL,
    let_in_by_url bigint NOT NULL,
    copies        bigint NOT NULL,
    echoes        bigint NOT NULL,
    first_at      bigint NOT NULL,
    last_at       bigint NOT NULL,
    PRIMARY KEY (start, route, carrier, credential, in_url, outcome, code)
);

-- The same by key and secret, with the key first: one key's counts lie together.
CREATE TABLE usage_key_hour (
    key_id        text NOT NULL,
    start         bigint NOT NULL,
    secret_id     text NOT NULL,
    route         text NOT NULL,
    carrier       text NOT NULL,
    credential    text NOT NULL,
    in_url        text NOT NULL,
    outcome       text NOT NULL,
    code          text NOT NULL,
    requests      bigint NOT NULL,
    sessions      bigint NOT NULL,
    bytes_in      bigint NOT NULL,
    bytes_out     bigint NOT NULL,
    let_in_by_url bigint NOT NULL,
    copies        bigint NOT NULL,
    echoes        bigint NOT NULL,
    first_at      bigint NOT NULL,
    last_at       bigint NOT NULL,
    PRIMARY KEY (key_id, start, secret_id, route, carrier, credential, in_url, outcome, code)
);

CREATE INDEX usage_key_hour_by_start ON usage_key_hour (start);
CREATE INDEX usage_key_hour_by_url ON usage_key_hour (start) WHERE let_in_by_url > 0;

CREATE TABLE usage_key_day (
    key_id        text NOT NULL,
    start         bigint NOT NULL,
    secret_id     text NOT NULL,
    route         text NOT NULL,
    carrier       text NOT NULL,
    credential    text NOT NULL,
    in_url        text NOT NULL,
    outcome       text NOT NULL,
    code          text NOT NULL,
    requests      bigint NOT NULL,
    sessions      bigint NOT NULL,
    bytes_in      bigint NOT NULL,
    bytes_out     bigint NOT NULL,
    let_in_by_url bigint NOT NULL,
    copies        bigint NOT NULL,
    echoes        bigint NOT NULL,
    first_at      bigint NOT NULL,
    last_at       bigint NOT NULL,
    PRIMARY KEY (key_id, start, secret_id, route, carrier, credential, in_url, outcome, code)
);

CREATE INDEX usage_key_day_by_start ON usage_key_day (start);
CREATE INDEX usage_key_day_by_url ON usage_key_day (start) WHERE let_in_by_url > 0;

-- When each secret of a key was last seen in each carrier.
CREATE TABLE last_seen (
    key_id     text NOT NULL,
    secret_id  text NOT NULL,
    carrier    text NOT NULL,
    route      text NOT NULL,
    credential text NOT NULL,
    first_at   bigint NOT NULL,
    last_at    bigint NOT NULL,
    allowed    bigint NOT NULL,
    refused    bigint NOT NULL,
    -- The last client's own name for itself, masked; where it came by a URL.
    user_agent text NOT NULL,
    PRIMARY KEY (key_id, secret_id, carrier, route, credential)
);

CREATE INDEX last_seen_by_age ON last_seen (last_at);
