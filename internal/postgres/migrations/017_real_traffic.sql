-- Usage as gateways really send it: requests that sampled several models, other
-- names of models, service tiers with a multiplier, and what usage without a price
-- counts against limits. Rebuilds the primary key of usage_events, which locks the
-- table while it is read.

CREATE TABLE model_aliases (
    book  text COLLATE "C" NOT NULL REFERENCES price_books,
    alias text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    PRIMARY KEY (book, alias)
);

CREATE TABLE service_tier_prices (
    book                text COLLATE "C" NOT NULL REFERENCES price_books,
    tier                text COLLATE "C" NOT NULL CHECK (tier NOT IN ('standard', 'batch')),
    effective_from      timestamptz      NOT NULL,
    multiplier          numeric          NOT NULL CHECK (multiplier > 0 AND multiplier < 'Infinity'),
    added_revision      bigint           NOT NULL DEFAULT 0, -- as of the other prices
    superseded_revision bigint           CHECK (superseded_revision > added_revision),
    superseded_at       timestamptz
);
CREATE UNIQUE INDEX service_tier_prices_held ON service_tier_prices (book, tier, effective_from) WHERE superseded_revision IS NULL;

-- What usage without a price counts against limits; nothing is billed by it.
CREATE TABLE fallback_prices (
    book           text COLLATE "C" PRIMARY KEY REFERENCES price_books,
    input          numeric NOT NULL CHECK (input >= 0 AND input < 'Infinity'),
    output         numeric NOT NULL CHECK (output >= 0 AND output < 'Infinity'),
    cache_write_5m numeric NOT NULL CHECK (cache_write_5m >= 0 AND cache_write_5m < 'Infinity'),
    cache_write_1h numeric NOT NULL CHECK (cache_write_1h >= 0 AND cache_write_1h < 'Infinity'),
    cache_read     numeric NOT NULL CHECK (cache_read >= 0 AND cache_read < 'Infinity')
);

DROP INDEX rates_given;
ALTER TABLE rates
    ADD COLUMN service_tier text COLLATE "C" NOT NULL DEFAULT 'standard',
    ADD COLUMN tier_from    timestamptz      NOT NULL DEFAULT '0001-01-01 00:00:00+00'; -- of the tier's multiplier
UPDATE rates SET service_tier = 'batch' WHERE batch;
ALTER TABLE rates DROP COLUMN batch, ALTER COLUMN service_tier DROP DEFAULT, ALTER COLUMN tier_from DROP DEFAULT;
CREATE UNIQUE INDEX rates_given
    ON rates (book, model, speed, effective_from, prompt_tokens_above, service_tier, tier_from, us_only, tools_from)
    WHERE superseded_at IS NULL;

ALTER TABLE price_changes ADD COLUMN service_tiers text[] NOT NULL DEFAULT '{}'; -- whose usage is rated anew

-- One row for each sampling of an event: together they are the event.
ALTER TABLE usage_events RENAME COLUMN unknown_count TO unpriceable; -- why no price book can price it
UPDATE usage_events SET unpriceable = 'usage.' || unpriceable || ' is a token count without a price' WHERE unpriceable IS NOT NULL;
ALTER TABLE usage_events
    ADD COLUMN part        smallint NOT NULL DEFAULT 0 CHECK (part >= 0),
    ADD COLUMN sent_model  text COLLATE "C", -- as the sender wrote the model, where a price book has it under another name
    ADD COLUMN provisional numeric CHECK (provisional >= 0 AND provisional < 'Infinity'), -- counted against limits while it has no price
    ADD CHECK (provisional IS NULL OR rate_id IS NULL),
    DROP CONSTRAINT usage_events_pkey,
    ADD PRIMARY KEY (org_id, event_id, part);
DROP INDEX usage_events_retracted_once;
CREATE UNIQUE INDEX usage_events_retracted_once ON usage_events (org_id, retracts, part) WHERE retracts IS NOT NULL;
DROP INDEX usage_events_parked;
CREATE INDEX usage_events_parked ON usage_events (org_id, event_id, part) WHERE rate_id IS NULL AND NOT void;

-- Spend of usage that has no price yet, at the book's fallback price.
ALTER TABLE spend_counters
    ADD COLUMN provisional       numeric NOT NULL DEFAULT 0 CHECK (provisional > '-Infinity' AND provisional < 'Infinity'),
    ADD COLUMN provisional_ended numeric NOT NULL DEFAULT 0 CHECK (provisional_ended >= 0 AND provisional_ended < 'Infinity'); -- all that ever was, since it has a price or was given up

-- Under which other names usage of a model arrived, for people who look for it.
CREATE TABLE model_spellings (
    org_id     text COLLATE "C" NOT NULL REFERENCES organizations,
    period_id  text COLLATE "C" NOT NULL, -- that bills it
    model      text COLLATE "C" NOT NULL,
    sent_model text COLLATE "C" NOT NULL,
    PRIMARY KEY (org_id, period_id, model, sent_model)
);
