-- The whole schema: every fact of the bill, and every "at most once" as a
-- constraint. Instants are UTC; amounts are exact numerics in major units of the
-- organisation's currency; text keys compare by bytes.

-- This database, as the payment provider knows it: two databases may meet the
-- same account.
CREATE TABLE installation (
    only_row            boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id                  uuid    NOT NULL DEFAULT gen_random_uuid(),
    last_invoice_number bigint  NOT NULL DEFAULT 0
);
INSERT INTO installation DEFAULT VALUES;

-- Prices ---------------------------------------------------------------------

CREATE TABLE price_books (
    name      text COLLATE "C" PRIMARY KEY,
    currency  text        NOT NULL,
    revision  bigint      NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE model_prices (
    book                text COLLATE "C" NOT NULL REFERENCES price_books,
    model               text COLLATE "C" NOT NULL,
    speed               text COLLATE "C" NOT NULL,
    effective_from      timestamptz      NOT NULL,
    prompt_tokens_above bigint           NOT NULL CHECK (prompt_tokens_above >= 0),
    input               numeric NOT NULL CHECK (input >= 0 AND input < 'Infinity'),
    output              numeric NOT NULL CHECK (output >= 0 AND output < 'Infinity'),
    cache_write_5m      numeric NOT NULL CHECK (cache_write_5m >= 0 AND cache_write_5m < 'Infinity'),
    cache_write_1h      numeric NOT NULL CHECK (cache_write_1h >= 0 AND cache_write_1h < 'Infinity'),
    cache_read          numeric NOT NULL CHECK (cache_read >= 0 AND cache_read < 'Infinity'),
    batch               numeric CHECK (batch >= 0 AND batch < 'Infinity'),
    us_only             numeric CHECK (us_only >= 0 AND us_only < 'Infinity'),
    PRIMARY KEY (book, model, speed, effective_from, prompt_tokens_above)
);

CREATE TABLE seat_prices (
    book           text COLLATE "C" NOT NULL REFERENCES price_books,
    tier           text COLLATE "C" NOT NULL,
    effective_from timestamptz      NOT NULL,
    amount         numeric          NOT NULL CHECK (amount >= 0 AND amount < 'Infinity'),
    products       text[]           NOT NULL, -- empty = every product
    PRIMARY KEY (book, tier, effective_from)
);

CREATE TABLE surcharge_prices (
    book           text COLLATE "C" NOT NULL REFERENCES price_books,
    name           text COLLATE "C" NOT NULL,
    tier           text COLLATE "C" NOT NULL,
    effective_from timestamptz      NOT NULL,
    amount         numeric          NOT NULL CHECK (amount >= 0 AND amount < 'Infinity'),
    PRIMARY KEY (book, name, tier, effective_from)
);

CREATE TABLE tool_prices (
    book           text COLLATE "C" NOT NULL REFERENCES price_books,
    tool           text COLLATE "C" NOT NULL,
    effective_from timestamptz      NOT NULL,
    per            bigint           NOT NULL CHECK (per > 0),
    amount         numeric          NOT NULL CHECK (amount >= 0 AND amount < 'Infinity'),
    PRIMARY KEY (book, tool, effective_from)
);

-- A rate is one price row times its modifiers, beside the tool prices of its
-- time. Events point to it for good.
CREATE TABLE rates (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    book                text COLLATE "C" NOT NULL REFERENCES price_books,
    model               text COLLATE "C" NOT NULL,
    speed               text COLLATE "C" NOT NULL,
    effective_from      timestamptz      NOT NULL,
    prompt_tokens_above bigint           NOT NULL,
    batch               boolean          NOT NULL,
    us_only             boolean          NOT NULL,
    tools_from          timestamptz      NOT NULL,
    input               numeric NOT NULL,
    output              numeric NOT NULL,
    cache_write_5m      numeric NOT NULL,
    cache_write_1h      numeric NOT NULL,
    cache_read          numeric NOT NULL,
    web_search          numeric NOT NULL,
    web_search_per      bigint  NOT NULL, -- 0 = not priced
    UNIQUE (book, model, speed, effective_from, prompt_tokens_above, batch, us_only, tools_from)
);

-- Organisations --------------------------------------------------------------

CREATE TABLE organizations (
    id                 text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    plan               text        NOT NULL CHECK (plan = 'enterprise'),
    currency           text        NOT NULL,
    timezone           text        NOT NULL,
    anchor_day         int         NOT NULL CHECK (anchor_day BETWEEN 1 AND 31),
    price_book         text COLLATE "C" NOT NULL REFERENCES price_books,
    starts_at          timestamptz NOT NULL,
    collection         text        NOT NULL CHECK (collection IN ('charge_automatically', 'send_invoice')),
    net_days           int         NOT NULL CHECK (net_days BETWEEN 0 AND 365),
    payment_method     text        NOT NULL DEFAULT '',
    draft_window       interval    NOT NULL CHECK (draft_window >= interval '0'),
    late_window        interval    NOT NULL CHECK (late_window >= interval '0'),
    email              text        NOT NULL DEFAULT '' CHECK (length(email) <= 320),
    dunning            int[]       NOT NULL,
    clock_at           timestamptz,           -- the test clock's time; null = real time
    cycle_started_at   timestamptz,           -- an operator asked for the cycle to run
    paused_at          timestamptz,
    closed_at          timestamptz,
    seats_revision     bigint      NOT NULL DEFAULT 0,
    stripe_customer_id text        UNIQUE,
    stripe_clock_id    text,
    created_at         timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE seat_assignments (
    org_id     text COLLATE "C" NOT NULL REFERENCES organizations,
    user_id    text COLLATE "C" NOT NULL CHECK (length(user_id) BETWEEN 1 AND 200),
    tier       text COLLATE "C" NOT NULL,
    hipaa      boolean          NOT NULL,
    valid_from timestamptz      NOT NULL,
    valid_to   timestamptz,
    PRIMARY KEY (org_id, user_id, valid_from),
    CHECK (valid_from < valid_to)
);
CREATE UNIQUE INDEX seat_assignments_held ON seat_assignments (org_id, user_id) WHERE valid_to IS NULL;

-- A period is open until closed_at; draft_until is set once it is over.
CREATE TABLE periods (
    org_id        text COLLATE "C" NOT NULL REFERENCES organizations,
    id            text COLLATE "C" NOT NULL,
    starts_at     timestamptz      NOT NULL,
    ends_at       timestamptz      NOT NULL,
    revision      int              NOT NULL DEFAULT 1, -- of its invoice; + 1 after a void
    draft_until   timestamptz,
    parked_reason text             NOT NULL DEFAULT '',
    closed_at     timestamptz,
    ended_by      bigint,                     -- the audit entry of the request that ended it early
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, ended_by),
    UNIQUE (org_id, starts_at),
    UNIQUE (org_id, ends_at),
    CHECK (starts_at < ends_at)
);

-- Usage ----------------------------------------------------------------------

-- Every event that was answered "accepted" or "parked", once per organisation
-- and id. A parked event has no rate, no period and counts nothing. The table
-- has no foreign keys: the totals, written in the same transaction, have them.
CREATE TABLE usage_events (
    org_id        text COLLATE "C" NOT NULL,
    event_id      text COLLATE "C" NOT NULL,
    user_id       text COLLATE "C" NOT NULL,           -- '' = no member
    occurred_at   timestamptz      NOT NULL,
    received_at   timestamptz      NOT NULL DEFAULT now(),
    product       text COLLATE "C" NOT NULL,
    model         text COLLATE "C" NOT NULL,
    input         bigint NOT NULL CHECK (input          BETWEEN 0 AND 1000000000000),
    output        bigint NOT NULL CHECK (output         BETWEEN 0 AND 1000000000000),
    cache_write_5m bigint NOT NULL CHECK (cache_write_5m BETWEEN 0 AND 1000000000000),
    cache_write_1h bigint NOT NULL CHECK (cache_write_1h BETWEEN 0 AND 1000000000000),
    cache_read    bigint NOT NULL CHECK (cache_read     BETWEEN 0 AND 1000000000000),
    web_search    bigint NOT NULL CHECK (web_search     BETWEEN 0 AND 1000000000000),
    service_tier  text COLLATE "C",                    -- null = standard
    speed         text COLLATE "C",                    -- null = standard
    inference_geo text COLLATE "C",                    -- null = global
    labels        jsonb,
    period_id     text COLLATE "C",                    -- the period that bills it
    origin_id     text COLLATE "C",                    -- the earlier period in which it happened
    rate_id       bigint,
    seat_tier     text COLLATE "C",                    -- held when it occurred; null = no seat
    flags         smallint NOT NULL,                   -- 1 cache split assumed, 2 product outside the seat
    fingerprint   bytea    NOT NULL,
    parked_reason text,
    unknown_count text,                                -- a token count that no price knows
    payload       text,                                -- as received; kept while parked
    PRIMARY KEY (org_id, event_id),
    CHECK ((rate_id IS NULL) = (parked_reason IS NOT NULL)),
    CHECK ((rate_id IS NULL) = (period_id IS NULL))
);
CREATE INDEX usage_events_parked ON usage_events (org_id, model) WHERE rate_id IS NULL;

CREATE TABLE usage_totals (
    org_id         text COLLATE "C" NOT NULL,
    period_id      text COLLATE "C" NOT NULL,
    origin_id      text COLLATE "C" NOT NULL, -- '' = the period itself
    user_id        text COLLATE "C" NOT NULL,
    product        text COLLATE "C" NOT NULL,
    model          text COLLATE "C" NOT NULL,
    rate_id        bigint NOT NULL REFERENCES rates,
    events         bigint  NOT NULL,
    input          numeric NOT NULL,
    output         numeric NOT NULL,
    cache_write_5m numeric NOT NULL,
    cache_write_1h numeric NOT NULL,
    cache_read     numeric NOT NULL,
    web_search     numeric NOT NULL,
    PRIMARY KEY (org_id, period_id, user_id, product, model, rate_id, origin_id),
    FOREIGN KEY (org_id, period_id) REFERENCES periods
);

-- Spend of a billing month at list price, by scope: the organisation (subject
-- ''), each user, each seat tier.
CREATE TABLE spend_counters (
    org_id       text COLLATE "C" NOT NULL REFERENCES organizations,
    window_start timestamptz      NOT NULL,
    scope        text COLLATE "C" NOT NULL CHECK (scope IN ('organization', 'seat_tier', 'user')),
    subject      text COLLATE "C" NOT NULL,
    spend        numeric          NOT NULL CHECK (spend > '-Infinity' AND spend < 'Infinity'),
    PRIMARY KEY (org_id, window_start, scope, subject)
) WITH (fillfactor = 80);

-- Limits and notices ---------------------------------------------------------

CREATE TABLE limits (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id     text COLLATE "C" NOT NULL REFERENCES organizations,
    scope      text COLLATE "C" NOT NULL CHECK (scope IN ('organization', 'seat_tier', 'user')),
    subject    text COLLATE "C" NOT NULL,
    version    int              NOT NULL CHECK (version > 0),
    amount     numeric          CHECK (amount >= 0 AND amount < 'Infinity'), -- null = none
    mode       text             NOT NULL CHECK (mode IN ('per_member', 'pooled')),
    thresholds int[]            NOT NULL CHECK (cardinality(thresholds) BETWEEN 1 AND 10),
    removed_at timestamptz,
    updated_at timestamptz      NOT NULL, -- the organisation's time
    UNIQUE (org_id, scope, subject),
    CHECK ((scope = 'organization') = (subject = ''))
);

CREATE TABLE notices (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id        text COLLATE "C" NOT NULL REFERENCES organizations,
    limit_id      bigint           NOT NULL REFERENCES limits,
    limit_version int              NOT NULL,
    threshold     int              NOT NULL,
    window_start  timestamptz      NOT NULL,
    window_end    timestamptz      NOT NULL,
    scope         text COLLATE "C" NOT NULL,
    subject       text COLLATE "C" NOT NULL, -- the user, tier, or '' for the organisation
    amount        numeric          NOT NULL,
    spent         numeric          NOT NULL,
    late          boolean          NOT NULL, -- the spend belongs to an earlier month
    status        text             NOT NULL CHECK (status IN ('pending', 'sent', 'recorded', 'suppressed', 'failed')),
    at            timestamptz      NOT NULL, -- the organisation's time
    attempts      int              NOT NULL DEFAULT 0,
    retry_at      timestamptz,               -- the organisation's time
    failure       text             NOT NULL DEFAULT '',
    delivered_at  timestamptz,
    UNIQUE (limit_id, limit_version, threshold, window_start, subject)
);
CREATE INDEX notices_pending ON notices (org_id, id) WHERE status = 'pending';
CREATE INDEX notices_listed ON notices (org_id, at);

-- Invoices -------------------------------------------------------------------

CREATE TABLE invoices (
    id                  text COLLATE "C" PRIMARY KEY,
    org_id              text COLLATE "C" NOT NULL REFERENCES organizations,
    period_id           text COLLATE "C" NOT NULL,
    revision            int     NOT NULL CHECK (revision > 0),
    number              text    NOT NULL UNIQUE,
    status              text    NOT NULL CHECK (status IN ('open', 'past_due', 'paid', 'carried', 'settled', 'void', 'written_off')),
    currency            text    NOT NULL,
    subtotal            numeric NOT NULL,
    total               numeric NOT NULL,
    amount_paid         numeric NOT NULL DEFAULT 0 CHECK (amount_paid >= 0 AND amount_paid < 'Infinity'),
    amount_settled      numeric NOT NULL DEFAULT 0 CHECK (amount_settled >= 0 AND amount_settled < 'Infinity'), -- of it, paid otherwise than by a payment of ours
    period_start        timestamptz NOT NULL,
    period_end          timestamptz NOT NULL,
    finalized_at        timestamptz NOT NULL,          -- the organisation's time
    due_at              timestamptz,
    paid_at             timestamptz,
    collection          text    NOT NULL,
    net_days            int     NOT NULL,
    carried_into        text COLLATE "C" REFERENCES invoices,
    stripe_tried_at     timestamptz,                   -- wall clock: a first call may have got through
    stripe_invoice_id   text UNIQUE,
    stripe_finalize_tried_at timestamptz,
    stripe_finalized_at timestamptz,
    stripe_hosted_url   text    NOT NULL DEFAULT '',
    stripe_attempts     bigint  NOT NULL DEFAULT 0,    -- the provider's count of attempts, as last heard
    first_attempt_at    timestamptz,                   -- the organisation's time
    next_attempt_at     timestamptz,
    scheduled_attempts  int     NOT NULL DEFAULT 0,    -- how much of the dunning table is used up
    retry_requested     boolean NOT NULL DEFAULT false,
    UNIQUE (org_id, period_id, revision),
    FOREIGN KEY (org_id, period_id) REFERENCES periods
);
CREATE UNIQUE INDEX invoices_one_live ON invoices (org_id, period_id) WHERE status <> 'void';
CREATE INDEX invoices_collecting ON invoices (org_id) WHERE status IN ('open', 'past_due');
CREATE INDEX invoices_to_carry ON invoices (org_id) WHERE status = 'carried' AND carried_into IS NULL;

-- Lines are written before their invoice, whose number is drawn last.
CREATE TABLE invoice_lines (
    invoice_id   text COLLATE "C" NOT NULL REFERENCES invoices DEFERRABLE INITIALLY DEFERRED,
    n            int              NOT NULL,
    key          text COLLATE "C" NOT NULL,
    kind         text             NOT NULL,
    description  text             NOT NULL,
    product      text             NOT NULL,
    model        text             NOT NULL,
    token_class  text             NOT NULL,
    quantity     numeric          NOT NULL,
    unit_price   numeric          NOT NULL,
    per          bigint           NOT NULL CHECK (per > 0),
    exact_amount numeric          NOT NULL,
    amount       numeric          NOT NULL,
    origin_id    text             NOT NULL,
    PRIMARY KEY (invoice_id, n),
    UNIQUE (invoice_id, key)
);

CREATE TABLE invoice_line_members (
    invoice_id   text COLLATE "C" NOT NULL,
    n            int              NOT NULL,
    user_id      text COLLATE "C" NOT NULL,
    quantity     numeric          NOT NULL,
    exact_amount numeric          NOT NULL,
    amount       numeric          NOT NULL,
    PRIMARY KEY (invoice_id, n, user_id),
    FOREIGN KEY (invoice_id, n) REFERENCES invoice_lines
);

-- What was issued stays as it was issued.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of a finalised invoice cannot change', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER invoice_lines_are_final BEFORE UPDATE OR DELETE ON invoice_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER invoice_line_members_are_final BEFORE UPDATE OR DELETE ON invoice_line_members
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER invoices_are_final
    BEFORE UPDATE OF id, org_id, period_id, revision, number, currency, subtotal, total, period_start, period_end, finalized_at ON invoices
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE provider_items (
    invoice_id     text COLLATE "C" NOT NULL REFERENCES invoices DEFERRABLE INITIALLY DEFERRED,
    n              int              NOT NULL,
    key            text             NOT NULL,
    description    text             NOT NULL,
    amount         numeric          NOT NULL,
    tried_at       timestamptz,
    stripe_item_id text UNIQUE,
    PRIMARY KEY (invoice_id, n)
);

-- Collection -----------------------------------------------------------------

CREATE TABLE payments (
    id                       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    invoice_id               text COLLATE "C" NOT NULL REFERENCES invoices,
    attempt                  int              NOT NULL CHECK (attempt > 0),
    status                   text             NOT NULL CHECK (status IN ('unknown', 'succeeded', 'failed', 'processing', 'requires_action')),
    amount                   numeric          NOT NULL CHECK (amount > 0 AND amount < 'Infinity'),
    failure_code             text             NOT NULL DEFAULT '',
    payment_method           text             NOT NULL DEFAULT '',
    idempotency_key          text             NOT NULL UNIQUE,
    stripe_payment_intent_id text             NOT NULL DEFAULT '',
    stripe_charge_id         text             NOT NULL DEFAULT '',
    attempts_before          bigint           NOT NULL DEFAULT 0, -- the provider's count
    scheduled                boolean          NOT NULL DEFAULT false, -- uses up a day of the dunning table
    started_at               timestamptz      NOT NULL DEFAULT now(), -- wall clock
    created_at               timestamptz      NOT NULL,               -- the organisation's time
    UNIQUE (invoice_id, attempt)
);
CREATE UNIQUE INDEX payments_one_in_flight ON payments (invoice_id) WHERE status IN ('unknown', 'processing');
CREATE UNIQUE INDEX payments_one_success ON payments (invoice_id) WHERE status = 'succeeded';

CREATE TABLE payment_notices (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id       text COLLATE "C" NOT NULL REFERENCES organizations,
    invoice_id   text COLLATE "C" NOT NULL REFERENCES invoices,
    attempt      int              NOT NULL,
    kind         text             NOT NULL,
    amount       numeric          NOT NULL,
    failure_code text             NOT NULL DEFAULT '',
    next_at      timestamptz,
    status       text             NOT NULL CHECK (status IN ('pending', 'sent', 'failed')),
    at           timestamptz      NOT NULL,
    attempts     int              NOT NULL DEFAULT 0,
    retry_at     timestamptz,
    failure      text             NOT NULL DEFAULT '',
    delivered_at timestamptz,
    UNIQUE (invoice_id, attempt, kind)
);

-- What the provider told us, once per event; a hint to look, never believed.
CREATE TABLE stripe_events (
    id           text COLLATE "C" PRIMARY KEY,
    type         text        NOT NULL,
    object_id    text        NOT NULL,
    customer_id  text        NOT NULL DEFAULT '',
    stripe_invoice_id text   NOT NULL DEFAULT '',
    invoice_id   text COLLATE "C" REFERENCES invoices,
    created_at   timestamptz NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz,
    outcome      text        NOT NULL CHECK (outcome IN ('news', 'looking', 'looked', 'noted', 'ignored', 'quarantined'))
);
CREATE INDEX stripe_events_news ON stripe_events (invoice_id) WHERE processed_at IS NULL;
CREATE INDEX stripe_events_unmatched ON stripe_events (stripe_invoice_id) WHERE invoice_id IS NULL;
CREATE INDEX stripe_events_received ON stripe_events (received_at);

-- News for workflows ---------------------------------------------------------

-- Written in the transaction that makes the news; the relay signals the
-- workflow and deletes the row.
CREATE TABLE outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id      text COLLATE "C" NOT NULL REFERENCES organizations,
    workflow_id text COLLATE "C" NOT NULL,
    due_at      timestamptz      NOT NULL DEFAULT now(),
    attempts    int              NOT NULL DEFAULT 0
);
CREATE INDEX outbox_due ON outbox (due_at);
CREATE INDEX outbox_org ON outbox (org_id);

-- What the workflows of organisations on a test clock wait for. A workflow is at
-- rest when it has registered a wait after its last nudge.
CREATE TABLE waits (
    workflow_id   text COLLATE "C" PRIMARY KEY,
    org_id        text COLLATE "C" NOT NULL REFERENCES organizations,
    what          text             NOT NULL DEFAULT '',
    wake_at       timestamptz,               -- null = news only
    seen          bigint           NOT NULL DEFAULT 0,
    nudged        bigint           NOT NULL DEFAULT 0,
    registered_at timestamptz
);
CREATE INDEX waits_org ON waits (org_id);

CREATE TABLE audit_log (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id  text COLLATE "C" NOT NULL,
    at      timestamptz      NOT NULL DEFAULT now(),
    actor   text             NOT NULL,
    action  text             NOT NULL,
    subject text             NOT NULL DEFAULT '',
    before  jsonb,
    after   jsonb,
    reason  text             NOT NULL DEFAULT ''
);
CREATE INDEX audit_log_org ON audit_log (org_id, id);
CREATE TRIGGER audit_log_is_final BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
