-- Negotiated discounts, and the hash by which a change of an issued invoice is
-- found. A period keeps the percentage by which it was billed when it closes, for
-- its late usage. Takes exclusive locks for a moment; no row is rewritten.
ALTER TABLE organizations
    ADD COLUMN discount numeric NOT NULL DEFAULT 0 CHECK (discount >= 0 AND discount < 100); -- in percent
ALTER TABLE periods
    ADD COLUMN discount numeric NOT NULL DEFAULT 0 CHECK (discount >= 0 AND discount < 100); -- of an open one: 0
ALTER TABLE invoices
    ADD COLUMN discount     numeric NOT NULL DEFAULT 0,
    ADD COLUMN content_hash text    NOT NULL DEFAULT '';

DROP TRIGGER invoices_are_final ON invoices;
CREATE TRIGGER invoices_are_final
    BEFORE UPDATE OF id, org_id, period_id, revision, number, currency, subtotal, discount, total, period_start, period_end,
                     finalized_at, content_hash ON invoices
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
