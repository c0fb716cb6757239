-- Invoices above the largest charge that are collected in parts, and payments of
-- what was paid already. Takes short exclusive locks on invoices, payments,
-- provider_settlements and invoice_releases; no table is rewritten.

-- The columns of invoices that tell how an invoice stands at the provider are
-- those of the part that is being collected; the parts before it, all paid, are
-- in provider_parts. Each part has one row of provider_items, under its number.
ALTER TABLE invoices
    ADD COLUMN parts int NOT NULL DEFAULT 1 CHECK (parts > 0),
    ADD COLUMN part  int NOT NULL DEFAULT 1 CHECK (part BETWEEN 1 AND parts);
CREATE TABLE provider_parts (
    invoice_id        text COLLATE "C" NOT NULL REFERENCES invoices,
    part              int              NOT NULL CHECK (part > 0),
    stripe_invoice_id text COLLATE "C" NOT NULL UNIQUE,
    paid_at           timestamptz      NOT NULL, -- the organisation's time
    PRIMARY KEY (invoice_id, part)
);
CREATE TRIGGER provider_parts_are_final BEFORE UPDATE OR DELETE ON provider_parts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- Every invoice of ours at the provider.
CREATE VIEW provider_invoices AS
SELECT id AS invoice_id, part, stripe_invoice_id, true AS in_hand
  FROM invoices
 WHERE stripe_invoice_id IS NOT NULL
 UNION ALL
SELECT invoice_id, part, stripe_invoice_id, false
  FROM provider_parts;

ALTER TABLE provider_settlements ADD COLUMN part int NOT NULL DEFAULT 1 CHECK (part > 0);

ALTER TABLE invoice_releases
    ADD COLUMN split boolean NOT NULL DEFAULT false CHECK (NOT (split AND bank_transfer));

-- Each part is paid once. What comes in for one that is paid, or for an invoice
-- that is not to be paid any more, is surplus: it is to be refunded.
ALTER TABLE payments
    ADD COLUMN part    int     NOT NULL DEFAULT 1 CHECK (part > 0),
    ADD COLUMN surplus boolean NOT NULL DEFAULT false,
    ADD COLUMN received_before numeric NOT NULL DEFAULT 0 CHECK (received_before >= 0); -- of the amount, as transfers in part: in provider_settlements, too
DROP INDEX payments_one_success;
CREATE UNIQUE INDEX payments_one_success ON payments (invoice_id, part) WHERE status = 'succeeded' AND NOT surplus;
