-- Usage by more paths than one: keys that report for one member, products that are
-- taken from one path only, and what a sender says that a request cost. Takes a
-- moment's lock on each of the three tables; no row of usage is read or written.

-- Whose usage a key reports, whatever is sent with it; null = anybody's.
ALTER TABLE api_keys
    ADD COLUMN member text COLLATE "C",
    ADD CHECK (member IS NULL OR org_id IS NOT NULL AND member <> ''
               AND scopes <@ ARRAY['usage:write', 'limits:read']);

-- By product, the only path by which its usage is taken: {"claude_code": "otlp"}.
ALTER TABLE organizations
    ADD COLUMN usage_sources jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(usage_sources) = 'object');

-- What the sender of a parked event says that it cost, in USD, by which its cache
-- writes are divided once it has a price. Null = it said nothing, or has a price.
ALTER TABLE usage_events
    ADD COLUMN stated_cost numeric,
    ADD CONSTRAINT usage_events_stated_cost_check CHECK (
        stated_cost IS NULL OR stated_cost > '-Infinity' AND stated_cost < 'Infinity' AND rate_id IS NULL) NOT VALID;
