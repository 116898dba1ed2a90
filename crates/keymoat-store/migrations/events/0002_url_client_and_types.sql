-- Whose long-lived keys were let in by URLs: one row for each route, key and carrier, so that who still has to be told is
-- known without adding up a month of hours. Times are milliseconds since 1970 (UTC).

CREATE TABLE url_client (
    route      TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    carrier    TEXT NOT NULL,
    -- Since the first one.
    uses       INTEGER NOT NULL,
    first_at   INTEGER NOT NULL,
    last_at    INTEGER NOT NULL,
    -- The number of the last one's event; 0 where it is not known.
    last_seq   INTEGER NOT NULL,
    -- The last client's own name for itself, masked.
    user_agent TEXT NOT NULL,
    PRIMARY KEY (route, key_id, carrier)
) STRICT, WITHOUT ROWID;

CREATE INDEX url_client_by_age ON url_client (last_at);

INSERT INTO url_client (route, key_id, carrier, uses, first_at, last_at, last_seq, user_agent)
SELECT route, key_id, carrier, sum(let_in_by_url), min(first_at), max(last_at), 0,
       coalesce((SELECT seen.user_agent FROM last_seen AS seen
                 WHERE seen.key_id = used.key_id AND seen.route = used.route AND seen.carrier = used.carrier
                   AND seen.user_agent <> '' ORDER BY seen.last_at DESC LIMIT 1), '')
FROM usage_key_day AS used WHERE let_in_by_url > 0 GROUP BY route, key_id, carrier;

-- Of the usual type there are too many to be looked for.
CREATE INDEX event_by_type ON event (type, seq) WHERE type <> 'request.allowed';
