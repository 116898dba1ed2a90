-- The life of a key: several secrets that end one after the other, reminders, limits, and what is counted towards those.
-- Times are milliseconds since 1970 (UTC).

-- When somebody is to be reminded of a rotation: at a moment, or at an age of the newest secret in milliseconds.
ALTER TABLE api_key ADD COLUMN rotate_at INTEGER;
ALTER TABLE api_key ADD COLUMN rotate_age INTEGER CHECK (rotate_age > 0);

-- Absent: no limit.
ALTER TABLE api_key ADD COLUMN requests_per_second INTEGER CHECK (requests_per_second > 0);
ALTER TABLE api_key ADD COLUMN burst INTEGER CHECK (burst > 0);
ALTER TABLE api_key ADD COLUMN requests_per_day INTEGER CHECK (requests_per_day > 0);
ALTER TABLE api_key ADD COLUMN bytes_per_day INTEGER CHECK (bytes_per_day > 0);
ALTER TABLE api_key ADD COLUMN sessions_max INTEGER CHECK (sessions_max > 0);
ALTER TABLE api_key ADD COLUMN session_duration_secs INTEGER CHECK (session_duration_secs > 0);
ALTER TABLE api_key ADD COLUMN session_bytes INTEGER CHECK (session_bytes > 0);
-- Names separated by one space.
ALTER TABLE api_key ADD COLUMN models TEXT;

-- A secret's own id is what logs and counts know it by.
ALTER TABLE api_key_secret ADD COLUMN id TEXT NOT NULL DEFAULT '';
-- Counts up for each key; the highest is the newest.
ALTER TABLE api_key_secret ADD COLUMN number INTEGER NOT NULL DEFAULT 1;
-- From when on it is refused. What has ended stays a while, so that its holder can be told.
ALTER TABLE api_key_secret ADD COLUMN ends_at INTEGER;

UPDATE api_key_secret SET id = 'sec_' || lower(hex(randomblob(6)));

CREATE UNIQUE INDEX api_key_secret_id ON api_key_secret (id);

-- What was counted of a day towards the limits of a key, of the store or of the configuration.
CREATE TABLE limit_use (
    key_id   TEXT NOT NULL,
    -- Days since 1970 (UTC).
    day      INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    PRIMARY KEY (key_id, day)
) STRICT, WITHOUT ROWID;
