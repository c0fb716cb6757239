-- Which incarnation of the database was last known to be level with the provider:
-- a server that started since, or a copy in the database's place, may have been
-- restored from a backup or promoted, and lack what was committed before. Null
-- until a worker has run. caught_up_at is when it was last made level again.
CREATE TABLE database_incarnation (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    known        text,
    caught_up_at timestamptz
);
INSERT INTO database_incarnation DEFAULT VALUES;

-- What is known of an invoice at the provider that is recorded nowhere here, so
-- that the same one, written anew, is held against it. total is null where it is
-- not final; part is 0 unless the invoice is split.
ALTER TABLE provider_orphans
    ADD COLUMN part     int     NOT NULL DEFAULT 0,
    ADD COLUMN number   text    COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN total    numeric CHECK (total > '-Infinity' AND total < 'Infinity'),
    ADD COLUMN currency text    NOT NULL DEFAULT '';
CREATE INDEX ON provider_orphans (invoice_id);
CREATE INDEX ON provider_orphans (number) WHERE number <> '';

-- Customers at the provider that were made for organisations which do not name
-- them: found after the database had gone back.
CREATE TABLE provider_customers (
    stripe_customer_id text COLLATE "C" PRIMARY KEY,
    org_id             text COLLATE "C" NOT NULL,
    stripe_clock_id    text        NOT NULL DEFAULT '',
    made_at            timestamptz NOT NULL,
    found_at           timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON provider_customers (org_id, made_at);
