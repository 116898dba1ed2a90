-- The processes on this store, and what they share beside uses: places for live sessions. Whether a process lives is told
-- by the lock that it holds on a file of its own. Times are milliseconds since 1970 (UTC).
CREATE TABLE node (
    -- Drawn when the process starts.
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    -- Where it serves.
    address    TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('ready', 'draining')),
    started_at INTEGER NOT NULL
) STRICT;

-- One row for each live session that is counted.
CREATE TABLE place (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sid    BLOB NOT NULL UNIQUE CHECK (length(sid) = 16),
    -- A key or a token.
    holder TEXT NOT NULL,
    node   TEXT NOT NULL,
    -- Of a token's sessions only so many live, the newest; 0 once there were newer ones, also if those have ended. Absent
    -- for a key, whose places are counted.
    newest INTEGER CHECK (newest >= 0)
) STRICT;

CREATE INDEX place_by_node ON place (node);
CREATE INDEX place_by_holder ON place (holder, number);
