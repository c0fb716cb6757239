-- How an organisation's limits meet. Changes no row: the default is what held.
ALTER TABLE organizations
    ADD COLUMN limit_rule text NOT NULL DEFAULT 'strict_min' CHECK (limit_rule IN ('strict_min', 'override'));
