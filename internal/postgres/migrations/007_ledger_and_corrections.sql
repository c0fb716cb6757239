-- The double-entry ledger, and the corrections of issued invoices. Takes a
-- moment's exclusive lock on invoices for its column and its index.

-- An invoice's organisation beside its id, for keys that cross no tenant.
ALTER TABLE invoices
    ADD COLUMN amount_credited numeric NOT NULL DEFAULT 0 CHECK (amount_credited >= 0 AND amount_credited < 'Infinity'), -- by credit notes before it was paid
    ADD UNIQUE (org_id, id);

-- What happened, once: each is written in the transaction of the fact that it
-- books. invoice_id is the invoice that it is about.
CREATE TABLE ledger_transactions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id     text COLLATE "C" NOT NULL REFERENCES organizations,
    invoice_id text COLLATE "C",
    kind       text COLLATE "C" NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
    reference  text COLLATE "C" NOT NULL CHECK (length(reference) BETWEEN 1 AND 300),
    at         timestamptz      NOT NULL,               -- the organisation's time
    booked_at  timestamptz      NOT NULL DEFAULT now(), -- wall clock
    UNIQUE (kind, reference),
    UNIQUE (org_id, id),
    FOREIGN KEY (org_id, invoice_id) REFERENCES invoices (org_id, id)
);
CREATE INDEX ledger_transactions_invoice ON ledger_transactions (invoice_id);

-- Debits are positive, credits negative. invoice_id is the invoice whose part of
-- the account moves.
CREATE TABLE ledger_entries (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id bigint           NOT NULL,
    org_id         text COLLATE "C" NOT NULL,
    invoice_id     text COLLATE "C",
    account        text COLLATE "C" NOT NULL CHECK (account IN (
                       'receivable',  -- what the organisation owes
                       'revenue',     -- what was charged, less credit notes
                       'cash',        -- what came in by payments through the provider
                       'settlements', -- what came in otherwise: bank transfers, out of band
                       'credits',     -- what is owed to the organisation, for its next invoices
                       'unapplied',   -- money that came in for nothing that was owed: to be refunded
                       'rounding',    -- what rounding to the provider's step added or took
                       'bad_debt',    -- what was given up
                       'refunds',     -- what was paid back
                       'disputes')),  -- what a bank has taken back
    currency       text             NOT NULL,
    amount         numeric          NOT NULL CHECK (amount <> 0 AND amount > '-Infinity' AND amount < 'Infinity'),
    FOREIGN KEY (org_id, transaction_id) REFERENCES ledger_transactions (org_id, id),
    FOREIGN KEY (org_id, invoice_id) REFERENCES invoices (org_id, id)
);
CREATE INDEX ledger_entries_transaction ON ledger_entries (transaction_id);
CREATE INDEX ledger_entries_org ON ledger_entries (org_id, account, id);
CREATE INDEX ledger_entries_invoice ON ledger_entries (invoice_id);

-- Every transaction of the ledger has two entries or more, and sums to zero in
-- each currency, whenever something is committed.
CREATE FUNCTION ledger_must_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    booked bigint;
    entries bigint;
BEGIN
    IF TG_TABLE_NAME = 'ledger_transactions' THEN booked := NEW.id; ELSE booked := NEW.transaction_id; END IF;
    SELECT count(*) INTO entries FROM ledger_entries WHERE transaction_id = booked;
    IF entries < 2 THEN
        RAISE EXCEPTION 'ledger transaction % has % entries, and needs two or more', booked, entries USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM ledger_entries WHERE transaction_id = booked GROUP BY currency HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'ledger transaction % does not balance', booked USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_transactions_balance AFTER INSERT ON ledger_transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_must_balance();
CREATE CONSTRAINT TRIGGER ledger_entries_balance AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_must_balance();

CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is final: what was written there cannot change', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER ledger_transactions_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_entries_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON ledger_transactions, ledger_entries FROM PUBLIC;

-- The edges that an invoice's status may take; there is none back from an end
-- (I31). What was settled never becomes unpaid.
CREATE TABLE invoice_transitions (
    from_status text COLLATE "C" NOT NULL,
    to_status   text COLLATE "C" NOT NULL,
    PRIMARY KEY (from_status, to_status)
);
INSERT INTO invoice_transitions (from_status, to_status) VALUES
    ('open', 'past_due'), ('open', 'paid'), ('open', 'settled'), ('open', 'void'), ('open', 'written_off'),
    ('past_due', 'open'), ('past_due', 'paid'), ('past_due', 'settled'), ('past_due', 'void'), ('past_due', 'written_off'),
    ('written_off', 'paid'), ('written_off', 'void');
CREATE FUNCTION refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM invoice_transitions WHERE from_status = OLD.status AND to_status = NEW.status) THEN
        RAISE EXCEPTION 'invoice % is % and cannot become %', OLD.id, OLD.status, NEW.status USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invoices_move_forward BEFORE UPDATE OF status ON invoices
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION refuse_transition();

-- Corrections of issued invoices: asked for by people, carried out at the provider
-- by the invoice's collection, one at a time. A credit note is one that was
-- carried out; its number is drawn then, so numbers have no gaps.
ALTER TABLE installation ADD COLUMN last_credit_note_number bigint NOT NULL DEFAULT 0;
CREATE TABLE invoice_corrections (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id       text COLLATE "C" NOT NULL,
    invoice_id   text COLLATE "C" NOT NULL,
    kind         text        NOT NULL CHECK (kind IN ('void', 'write_off', 'settlement', 'credit_note')),
    status       text        NOT NULL CHECK (status IN ('requested', 'done', 'refused')),
    amount       numeric     CHECK (amount > 0 AND amount < 'Infinity'),
    to_credit    boolean     NOT NULL DEFAULT false, -- the invoice was paid: the amount is owed to the organisation
    line_key     text        NOT NULL DEFAULT '',    -- the charge line that a credit note is about
    reference    text        NOT NULL DEFAULT '' CHECK (length(reference) <= 200), -- of a settlement, such as a bank's
    number       text        UNIQUE,
    actor        text        NOT NULL,
    reason       text        NOT NULL,
    failure      text        NOT NULL DEFAULT '',
    requested_at timestamptz NOT NULL,               -- the organisation's time
    tried_at     timestamptz,                        -- wall clock: a first call may have got through
    stripe_id    text        UNIQUE,                 -- the provider's credit note
    done_at      timestamptz,                        -- the organisation's time
    FOREIGN KEY (org_id, invoice_id) REFERENCES invoices (org_id, id),
    CHECK ((amount IS NULL) = (kind IN ('void', 'write_off'))),
    CHECK ((number IS NOT NULL) = (kind = 'credit_note' AND status = 'done')),
    CHECK ((done_at IS NOT NULL) = (status <> 'requested'))
);
CREATE UNIQUE INDEX invoice_corrections_one_requested ON invoice_corrections (invoice_id) WHERE status = 'requested';
CREATE INDEX invoice_corrections_invoice ON invoice_corrections (invoice_id);
CREATE TRIGGER invoice_corrections_are_final BEFORE UPDATE OR DELETE ON invoice_corrections
    FOR EACH ROW WHEN (OLD.status <> 'requested') EXECUTE FUNCTION refuse_change();
CREATE INDEX invoice_corrections_credits ON invoice_corrections (org_id, id) WHERE to_credit;
