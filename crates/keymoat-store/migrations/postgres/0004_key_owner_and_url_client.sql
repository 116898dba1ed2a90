-- What people want to see of a key beside its name, the order in which they page through them, and who still comes by URLs.
-- Times are milliseconds since 1970 (UTC).

-- Who answers for it, in a person's own words.
ALTER TABLE api_key ADD COLUMN owner text;

-- What all keys of the secret's form begin with, such as `km_`; nothing of the secret itself. Absent where that is not known.
ALTER TABLE api_key_secret ADD COLUMN prefix text;

CREATE INDEX api_key_by_age ON api_key (created_at, id COLLATE "C");

-- Whose long-lived keys were let in by URLs: one row for each route, key and carrier, so that who still has to be told is
-- known without adding up a month of hours.
CREATE TABLE url_client (
    route      text NOT NULL,
    key_id     text NOT NULL,
    carrier    text NOT NULL,
    -- Since the first one.
    uses       bigint NOT NULL,
    first_at   bigint NOT NULL,
    last_at    bigint NOT NULL,
    -- The number of the last one's event; 0 where it is not known.
    last_seq   bigint NOT NULL,
    -- The last client's own name for itself, masked.
    user_agent text NOT NULL,
    PRIMARY KEY (route, key_id, carrier)
);

CREATE INDEX url_client_by_age ON url_client (last_at);

INSERT INTO url_client (route, key_id, carrier, uses, first_at, last_at, last_seq, user_agent)
SELECT route, key_id, carrier, sum(let_in_by_url), min(first_at), max(last_at), 0,
       coalesce((SELECT seen.user_agent FROM last_seen AS seen
                 WHERE seen.key_id = used.key_id AND seen.route = used.route AND seen.carrier = used.carrier
                   AND seen.user_agent <> '' ORDER BY seen.last_at DESC LIMIT 1), '')
FROM usage_key_day AS used WHERE let_in_by_url > 0 GROUP BY route, key_id, carrier;

-- Of the usual type there are too many to be looked for.
CREATE INDEX event_by_type ON event (type, seq) WHERE type <> 'request.allowed';
