-- What a token may take beyond one session, as canonical JSON; absent: nothing is limited.
ALTER TABLE token_terms ADD COLUMN limits text;

-- Payload bytes that its sessions have carried, where `limits` has a total of them.
ALTER TABLE token_terms ADD COLUMN bytes_used bigint NOT NULL DEFAULT 0 CHECK (bytes_used >= 0);
