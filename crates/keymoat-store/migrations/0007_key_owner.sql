-- What people want to see of a key beside its name, and the order in which they page through them.

-- Who answers for it, in a person's own words.
ALTER TABLE api_key ADD COLUMN owner TEXT;

-- What all keys of the secret's form begin with, such as `km_`; nothing of the secret itself. Absent where that is not known.
ALTER TABLE api_key_secret ADD COLUMN prefix TEXT;

CREATE INDEX api_key_by_age ON api_key (created_at, id);
