-- Storing usage at its full speed. Totals and counters change with nearly every
-- batch and none of their indexed columns does, so room in each page keeps their
-- new versions beside the old ones and out of the indexes. It holds for pages
-- that are written from here on; nothing is rewritten. Locks the tables for a moment.
ALTER TABLE usage_totals SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE spend_counters SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);

-- What foreign keys did row by row, with a look-up and a lock for each, is done
-- once for each statement: a batch of many members adds as many rows, which all
-- name the same organisation and period and few rates.
ALTER TABLE usage_totals DROP CONSTRAINT usage_totals_rate_id_fkey, DROP CONSTRAINT usage_totals_org_id_period_id_fkey;
ALTER TABLE spend_counters DROP CONSTRAINT spend_counters_org_id_fkey;

CREATE FUNCTION check_new_totals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT org_id, period_id FROM added) a
                WHERE NOT EXISTS (SELECT FROM periods p WHERE p.org_id = a.org_id AND p.id = a.period_id)) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a usage total names no period', TABLE = 'usage_totals';
    END IF;
    IF EXISTS (SELECT FROM (SELECT DISTINCT rate_id FROM added) a
                WHERE NOT EXISTS (SELECT FROM rates r WHERE r.id = a.rate_id)) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a usage total names no rate', TABLE = 'usage_totals';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER check_new_totals AFTER INSERT ON usage_totals REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION check_new_totals();

CREATE FUNCTION check_new_counters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT org_id FROM added) a
                WHERE NOT EXISTS (SELECT FROM organizations o WHERE o.id = a.org_id)) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a spend counter names no organization', TABLE = 'spend_counters';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER check_new_counters AFTER INSERT ON spend_counters REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION check_new_counters();

-- The other side: what totals and counters name is not taken away. Organisations
-- and periods are never deleted, rates only before they are used.
CREATE FUNCTION check_deleted_rates() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM usage_totals t JOIN gone ON gone.id = t.rate_id) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a rate that usage totals name cannot be deleted', TABLE = 'rates';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER check_deleted_rates AFTER DELETE ON rates REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION check_deleted_rates();

CREATE FUNCTION check_deleted_periods() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM usage_totals t JOIN gone ON gone.org_id = t.org_id AND gone.id = t.period_id) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a period that usage totals name cannot be deleted', TABLE = 'periods';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER check_deleted_periods AFTER DELETE ON periods REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION check_deleted_periods();

CREATE FUNCTION check_deleted_organizations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM spend_counters c JOIN gone ON gone.id = c.org_id) THEN
        RAISE foreign_key_violation USING MESSAGE = 'an organization with spend counters cannot be deleted', TABLE = 'organizations';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER check_deleted_organizations AFTER DELETE ON organizations REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION check_deleted_organizations();

-- Rows that are moved name what exists, too, and nothing that may be named is renamed.
-- These fire only where a statement sets the columns, which storing never does.
CREATE FUNCTION check_moved_total() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM periods p WHERE p.org_id = NEW.org_id AND p.id = NEW.period_id)
       OR NOT EXISTS (SELECT FROM rates r WHERE r.id = NEW.rate_id) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a usage total names no period or no rate', TABLE = 'usage_totals';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_moved_total BEFORE UPDATE OF org_id, period_id, rate_id ON usage_totals
    FOR EACH ROW EXECUTE FUNCTION check_moved_total();

CREATE FUNCTION refuse_renaming() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE foreign_key_violation USING MESSAGE = format('the keys of %s cannot change', TG_TABLE_NAME), TABLE = TG_TABLE_NAME;
END $$;
CREATE TRIGGER refuse_renaming BEFORE UPDATE OF org_id ON spend_counters FOR EACH ROW EXECUTE FUNCTION refuse_renaming();
CREATE TRIGGER refuse_renaming BEFORE UPDATE OF id ON rates FOR EACH ROW EXECUTE FUNCTION refuse_renaming();
CREATE TRIGGER refuse_renaming BEFORE UPDATE OF org_id, id ON periods FOR EACH ROW EXECUTE FUNCTION refuse_renaming();
CREATE TRIGGER refuse_renaming BEFORE UPDATE OF id ON organizations FOR EACH ROW EXECUTE FUNCTION refuse_renaming();
