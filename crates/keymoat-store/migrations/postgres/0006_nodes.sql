-- The nodes over this database, and what they share beside uses: places for live sessions. Times are milliseconds since
-- 1970 (UTC), by the database's clock.
CREATE TABLE node (
    -- Drawn when the process starts.
    id           text PRIMARY KEY,
    name         text NOT NULL,
    version      text NOT NULL,
    -- Where it serves.
    address      text NOT NULL,
    state        text NOT NULL CHECK (state IN ('ready', 'draining')),
    started_at   bigint NOT NULL,
    seen_at      bigint NOT NULL,
    -- How far its own clock was ahead then, in milliseconds.
    clock_ahead  bigint NOT NULL,
    -- The count of changes that it had seen.
    change_seen  bigint NOT NULL,
    -- So long after `seen_at` its sessions that have a place are over, whatever has become of it, in milliseconds.
    closes_after bigint NOT NULL CHECK (closes_after > 0),
    -- It was not seen for longer than that, and its places were freed.
    is_freed     boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- Whoever may have so many sessions at once: a key. Its row is locked while somebody takes a place, and counts the places.
CREATE TABLE holder (
    id    text PRIMARY KEY,
    taken bigint NOT NULL CHECK (taken >= 0)
) WITH (fillfactor = 50);

-- One row for each live session that is counted.
CREATE TABLE place (
    sid      bytea PRIMARY KEY CHECK (octet_length(sid) = 16),
    -- In the order of the sessions, near enough: two at one moment may come either way.
    number   bigint GENERATED ALWAYS AS IDENTITY,
    -- A key that has a row of `holder`, or a token that has none.
    holder   text NOT NULL,
    node     text NOT NULL,
    -- Of a token's sessions only so many live, the newest; 0 once there were newer ones, also if those have ended. Absent
    -- for a key, whose places are counted.
    newest   bigint CHECK (newest >= 0)
);

CREATE INDEX place_by_node ON place (node);
CREATE INDEX place_by_holder ON place (holder, number);
