-- What is changed in routes without their file. Times are milliseconds since 1970 (UTC).

CREATE TABLE route_override (
    route    TEXT PRIMARY KEY,
    -- A field that is absent is the file's.
    query    TEXT CHECK (query IN ('refuse', 'tokens', 'warn', 'allow')),
    -- One carrier a line, in the configuration's spelling.
    carriers TEXT,
    sunset   INTEGER,
    made_at  INTEGER NOT NULL,
    made_by  TEXT NOT NULL,
    note     TEXT,
    CHECK (query IS NOT NULL OR carriers IS NOT NULL OR sunset IS NOT NULL)
) STRICT;

-- The days on which keys in the URLs of a route ended, once they have been told of.
CREATE TABLE sunset_reached (
    route    TEXT NOT NULL,
    sunset   INTEGER NOT NULL,
    noted_at INTEGER NOT NULL,
    PRIMARY KEY (route, sunset)
) STRICT;
