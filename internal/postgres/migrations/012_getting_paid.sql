-- Getting paid: suspension, reminders, a ceiling for cards, payments in part,
-- and what is refunded or disputed at the provider. Takes short exclusive locks
-- on organizations, invoices, payments, payment_notices and stripe_events; no
-- table is rewritten.

ALTER TABLE organizations
    ADD COLUMN suspend_after int CHECK (suspend_after BETWEEN 0 AND 365), -- days past due; null = never
    ADD COLUMN reminders     int[]   NOT NULL DEFAULT '{-3,7,14}',        -- days after the due date of a sent invoice
    ADD COLUMN card_ceiling  numeric DEFAULT 50000 CHECK (card_ceiling > 0 AND card_ceiling < 'Infinity'); -- null = none

ALTER TABLE invoices
    ADD COLUMN collection_reason text NOT NULL DEFAULT '', -- why it is not collected as the contract says
    ADD COLUMN past_due_at       timestamptz,              -- the organisation's time; when it first was
    ADD COLUMN follow_up_at      timestamptz,              -- past due: the next reminder, or the suspension
    ADD COLUMN swept_at          timestamptz;              -- wall clock: when a look was last asked for by itself
UPDATE invoices SET past_due_at = coalesce(next_attempt_at, due_at, finalized_at) WHERE status = 'past_due';
CREATE INDEX invoices_unsettled ON invoices (swept_at NULLS FIRST) WHERE status IN ('open', 'past_due', 'written_off');

-- An organisation is suspended while a row is open: by an invoice that is
-- overdue, each once ever, or by an operator. Usage is stored all the same.
CREATE TABLE suspensions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id     text COLLATE "C" NOT NULL REFERENCES organizations,
    invoice_id text COLLATE "C" UNIQUE REFERENCES invoices, -- null = by an operator
    at         timestamptz      NOT NULL,                   -- the organisation's time
    lifted_at  timestamptz
);
CREATE INDEX suspensions_open ON suspensions (org_id) WHERE lifted_at IS NULL;
CREATE UNIQUE INDEX suspensions_one_by_hand ON suspensions (org_id) WHERE lifted_at IS NULL AND invoice_id IS NULL;

-- A reminder is told once per day of the table.
ALTER TABLE payment_notices
    ADD COLUMN day int NOT NULL DEFAULT 0, -- of a reminder: days after the due date
    DROP CONSTRAINT payment_notices_invoice_id_attempt_kind_key,
    ADD UNIQUE (invoice_id, attempt, kind, day);

-- What came in at the provider otherwise than by a payment of ours, as it came.
CREATE TABLE provider_settlements (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    invoice_id  text COLLATE "C" NOT NULL REFERENCES invoices,
    amount      numeric          NOT NULL CHECK (amount > 0 AND amount < 'Infinity'),
    at          timestamptz      NOT NULL, -- the organisation's time
    recorded_at timestamptz      NOT NULL DEFAULT now()
);
CREATE INDEX provider_settlements_invoice ON provider_settlements (invoice_id);

-- Refunds and disputes at the provider, each state once, as it was found.
CREATE TABLE refunds (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stripe_refund_id  text COLLATE "C" NOT NULL,
    status            text             NOT NULL, -- pending, requires_action, succeeded, failed, canceled
    invoice_id        text COLLATE "C" NOT NULL REFERENCES invoices,
    payment_intent_id text             NOT NULL,
    amount            numeric          NOT NULL CHECK (amount > 0 AND amount < 'Infinity'),
    reason            text             NOT NULL,
    made_at           timestamptz      NOT NULL, -- the provider's time
    recorded_at       timestamptz      NOT NULL DEFAULT now(),
    UNIQUE (stripe_refund_id, status)
);
CREATE INDEX refunds_invoice ON refunds (invoice_id);
CREATE TABLE disputes (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stripe_dispute_id text COLLATE "C" NOT NULL,
    status            text             NOT NULL, -- needs_response, under_review, won, lost, warning_…
    invoice_id        text COLLATE "C" NOT NULL REFERENCES invoices,
    payment_intent_id text             NOT NULL,
    amount            numeric          NOT NULL CHECK (amount > 0 AND amount < 'Infinity'),
    reason            text             NOT NULL,
    respond_by        timestamptz,
    made_at           timestamptz      NOT NULL, -- the provider's time
    recorded_at       timestamptz      NOT NULL DEFAULT now(),
    UNIQUE (stripe_dispute_id, status)
);
CREATE INDEX disputes_invoice ON disputes (invoice_id);

CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% only grows: what was recorded cannot change', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER provider_settlements_are_final BEFORE UPDATE OR DELETE ON provider_settlements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER refunds_are_final BEFORE UPDATE OR DELETE ON refunds
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER disputes_are_final BEFORE UPDATE OR DELETE ON disputes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- Refunds and disputes name the payment, not the invoice.
CREATE INDEX payments_intent ON payments (stripe_payment_intent_id) WHERE stripe_payment_intent_id <> '';
ALTER TABLE stripe_events ADD COLUMN payment_intent_id text NOT NULL DEFAULT '';
CREATE INDEX stripe_events_intent ON stripe_events (payment_intent_id) WHERE invoice_id IS NULL AND payment_intent_id <> '';

-- Deliveries that were refused: how many, of which kind, and nothing of them.
CREATE TABLE webhook_refusals (
    day    date   NOT NULL,
    reason text   NOT NULL,
    count  bigint NOT NULL,
    PRIMARY KEY (day, reason)
);

-- How far the provider's lists were read, by the wall clock.
CREATE TABLE provider_sweeps (
    list     text PRIMARY KEY,
    swept_to timestamptz NOT NULL
);

-- Invoices at the provider that carry our mark and are recorded nowhere here.
CREATE TABLE provider_orphans (
    stripe_invoice_id text COLLATE "C" PRIMARY KEY,
    org_id            text COLLATE "C" NOT NULL,
    invoice_id        text COLLATE "C" NOT NULL,
    status            text        NOT NULL,
    made_at           timestamptz NOT NULL,
    found_at          timestamptz NOT NULL DEFAULT now(),
    seen_at           timestamptz NOT NULL DEFAULT now()
);
