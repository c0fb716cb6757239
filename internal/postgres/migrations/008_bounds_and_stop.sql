-- What holds an invoice back until a person has looked, who released it, and the
-- one switch that stops all billing. Takes a moment's exclusive lock on
-- organizations; changes no row.

-- Bounds of an organisation: null = the installation's, 0 = none.
ALTER TABLE organizations
    ADD COLUMN approval     boolean NOT NULL DEFAULT false, -- a person approves each invoice that is to be collected
    ADD COLUMN bound_growth numeric CHECK (bound_growth >= 0 AND bound_growth < 'Infinity'),
    ADD COLUMN bound_floor  numeric CHECK (bound_floor  >= 0 AND bound_floor  < 'Infinity'),
    ADD COLUMN bound_total  numeric CHECK (bound_total  >= 0 AND bound_total  < 'Infinity'),
    ADD COLUMN bound_credit numeric CHECK (bound_credit >= 0 AND bound_credit < 'Infinity');

-- A person's word that an invoice may be issued, over the total that the person
-- saw. Each request counts once, by its audit entry.
CREATE TABLE invoice_releases (
    audit_entry   bigint PRIMARY KEY,
    org_id        text COLLATE "C" NOT NULL REFERENCES organizations,
    invoice_id    text COLLATE "C" NOT NULL, -- not issued yet, so no row to refer to
    actor         text             NOT NULL,
    total         numeric          NOT NULL CHECK (total > '-Infinity' AND total < 'Infinity'),
    bank_transfer boolean          NOT NULL,
    released_at   timestamptz      NOT NULL  -- the organisation's time
);
CREATE INDEX invoice_releases_invoice ON invoice_releases (invoice_id);
CREATE TRIGGER invoice_releases_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON invoice_releases
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A row = nothing is issued, published or collected.
CREATE TABLE billing_stop (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    stopped_at timestamptz NOT NULL DEFAULT now(), -- wall clock
    actor      text        NOT NULL,
    reason     text        NOT NULL
);

-- What was issued stays: it is neither deleted nor emptied.
CREATE TRIGGER invoices_stay BEFORE DELETE OR TRUNCATE ON invoices
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER invoice_lines_stay BEFORE TRUNCATE ON invoice_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER invoice_line_members_stay BEFORE TRUNCATE ON invoice_line_members
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- That members' parts hang under a line is checked once per statement instead of
-- once per part, which was most of what a large month's close cost. Lines are
-- never deleted nor renumbered, so to check parts when they come is enough.
ALTER TABLE invoice_line_members DROP CONSTRAINT invoice_line_members_invoice_id_n_fkey;
CREATE FUNCTION parts_hang_under_a_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT invoice_id, n FROM added) part
                WHERE NOT EXISTS (SELECT FROM invoice_lines l WHERE l.invoice_id = part.invoice_id AND l.n = part.n)) THEN
        RAISE EXCEPTION 'a member''s part hangs under no line' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER invoice_line_members_hang_under_a_line AFTER INSERT ON invoice_line_members
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION parts_hang_under_a_line();
