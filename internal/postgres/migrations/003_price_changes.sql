-- Prices corrected backwards. A corrected row stays as history: it held for the
-- book's revisions from added_revision to before superseded_revision, so that
-- what a closed period was billed by can always be told. Takes exclusive locks
-- on the price tables for as long as their small indexes take to build.

ALTER TABLE model_prices
    ADD COLUMN added_revision      bigint NOT NULL DEFAULT 0, -- 0 = nothing was priced otherwise before it
    ADD COLUMN superseded_revision bigint CHECK (superseded_revision > added_revision),
    ADD COLUMN superseded_at       timestamptz,
    DROP CONSTRAINT model_prices_pkey;
CREATE UNIQUE INDEX model_prices_held ON model_prices (book, model, speed, effective_from, prompt_tokens_above)
    WHERE superseded_revision IS NULL;

ALTER TABLE seat_prices
    ADD COLUMN added_revision      bigint NOT NULL DEFAULT 0,
    ADD COLUMN superseded_revision bigint CHECK (superseded_revision > added_revision),
    ADD COLUMN superseded_at       timestamptz,
    DROP CONSTRAINT seat_prices_pkey;
CREATE UNIQUE INDEX seat_prices_held ON seat_prices (book, tier, effective_from) WHERE superseded_revision IS NULL;

ALTER TABLE surcharge_prices
    ADD COLUMN added_revision      bigint NOT NULL DEFAULT 0,
    ADD COLUMN superseded_revision bigint CHECK (superseded_revision > added_revision),
    ADD COLUMN superseded_at       timestamptz,
    DROP CONSTRAINT surcharge_prices_pkey;
CREATE UNIQUE INDEX surcharge_prices_held ON surcharge_prices (book, name, tier, effective_from) WHERE superseded_revision IS NULL;

ALTER TABLE tool_prices
    ADD COLUMN added_revision      bigint NOT NULL DEFAULT 0,
    ADD COLUMN superseded_revision bigint CHECK (superseded_revision > added_revision),
    ADD COLUMN superseded_at       timestamptz,
    DROP CONSTRAINT tool_prices_pkey;
CREATE UNIQUE INDEX tool_prices_held ON tool_prices (book, tool, effective_from) WHERE superseded_revision IS NULL;

-- A superseded rate is given to no further event; those of closed periods keep it.
ALTER TABLE rates ADD COLUMN superseded_at timestamptz;
ALTER TABLE rates DROP CONSTRAINT rates_book_model_speed_effective_from_prompt_tokens_above_b_key;
CREATE UNIQUE INDEX rates_given ON rates (book, model, speed, effective_from, prompt_tokens_above, batch, us_only, tools_from)
    WHERE superseded_at IS NULL;

-- The revision of the price book by which a closed period was billed.
ALTER TABLE periods ADD COLUMN price_revision bigint;
UPDATE periods p
   SET price_revision = b.revision
  FROM organizations o
  JOIN price_books b ON b.name = o.price_book
 WHERE o.id = p.org_id AND p.closed_at IS NOT NULL;

-- What was corrected, by whom and why; changes lists each row as it was and is.
CREATE TABLE price_changes (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    book     text COLLATE "C" NOT NULL REFERENCES price_books,
    revision bigint           NOT NULL,
    at       timestamptz      NOT NULL DEFAULT now(),
    actor    text             NOT NULL,
    reason   text             NOT NULL,
    changes  jsonb            NOT NULL,
    models   text[]           NOT NULL, -- whose usage is rated anew, in pairs with
    speeds   text[]           NOT NULL,
    tools    boolean          NOT NULL, -- and that of tools
    UNIQUE (book, revision)
);

-- What a correction did to an organisation with usage that it concerns. Until
-- done_at, none of the organisation's periods closes.
CREATE TABLE price_change_organizations (
    change_id   bigint           NOT NULL REFERENCES price_changes,
    org_id      text COLLATE "C" NOT NULL REFERENCES organizations,
    done_at     timestamptz,
    events      bigint           NOT NULL DEFAULT 0,
    difference  numeric          NOT NULL DEFAULT 0, -- at list price
    last_notice bigint           NOT NULL DEFAULT 0, -- the last that was recorded before
    PRIMARY KEY (change_id, org_id)
);
CREATE INDEX price_change_organizations_open ON price_change_organizations (org_id) WHERE done_at IS NULL;

-- How far each spend counter was moved by it.
CREATE TABLE price_change_spend (
    change_id    bigint           NOT NULL,
    org_id       text COLLATE "C" NOT NULL,
    window_start timestamptz      NOT NULL,
    scope        text COLLATE "C" NOT NULL,
    subject      text COLLATE "C" NOT NULL,
    difference   numeric          NOT NULL,
    PRIMARY KEY (change_id, org_id, window_start, scope, subject),
    FOREIGN KEY (change_id, org_id) REFERENCES price_change_organizations
);
CREATE INDEX price_change_spend_org ON price_change_spend (org_id, window_start, scope, subject) WHERE difference < 0;
