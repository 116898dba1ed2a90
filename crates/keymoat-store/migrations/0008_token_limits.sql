-- What a token may take beyond one session, as canonical JSON; absent: nothing is limited.
ALTER TABLE token_terms ADD COLUMN limits TEXT;

-- Payload bytes that its sessions have carried, where `limits` has a total of them.
ALTER TABLE token_terms ADD COLUMN bytes_used INTEGER NOT NULL DEFAULT 0 CHECK (bytes_used >= 0);
