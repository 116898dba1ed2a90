-- Real API keys of upstreams, sealed: each version under a data key of its own, which is wrapped under the key that
-- `kek_id` names. Times are milliseconds since 1970 (UTC).

CREATE TABLE upstream_secret (
    upstream    TEXT NOT NULL,
    -- Counts up for each upstream and is never used twice, also after the secret was removed.
    version     INTEGER NOT NULL CHECK (version > 0),
    kek_id      BLOB NOT NULL CHECK (length(kek_id) = 16),
    -- AES-256-GCM: nonce, ciphertext, tag.
    wrapped_dek BLOB CHECK (length(wrapped_dek) = 12 + 32 + 16),
    sealed      BLOB CHECK (length(sealed) BETWEEN 12 + 1 + 16 AND 12 + 16384 + 16),
    created_at  INTEGER NOT NULL,
    retired_at  INTEGER,
    PRIMARY KEY (upstream, version),
    -- A retired version leaves its dates behind and nothing that could be opened.
    CHECK ((retired_at IS NULL) = (wrapped_dek IS NOT NULL)),
    CHECK ((retired_at IS NULL) = (sealed IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX upstream_secret_live ON upstream_secret (upstream) WHERE retired_at IS NULL;
