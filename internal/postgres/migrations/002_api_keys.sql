-- Keys of the HTTP gateway. Only the hash of a key is stored: it is shown once,
-- when it is made. Takes a moment's lock on organizations for the foreign key.
CREATE TABLE api_keys (
    id           text COLLATE "C" PRIMARY KEY,
    prefix       text        NOT NULL,                          -- of the key, so that people know it again
    hash         bytea       NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256
    org_id       text COLLATE "C" REFERENCES organizations,     -- null = every organisation
    scopes       text[]      NOT NULL CHECK (cardinality(scopes) > 0
                             AND scopes <@ ARRAY['usage:write', 'spend:read', 'limits:read', 'limits:write', 'admin']),
    role         text        NOT NULL DEFAULT '' CHECK (role IN ('', 'owner', 'primary_owner', 'billing_manager')),
    created_by   text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,                                   -- to the minute or so
    revoked_at   timestamptz
);
