-- A retraction is an event of its own that cancels exactly one other event, once.
-- It is stored as that event with its quantities below zero, at the same rate, so
-- that every sum over events is right without knowing of it. Locks usage_events
-- while its index is built, which reads the table once.
ALTER TABLE usage_events
    ADD COLUMN retracts  text COLLATE "C",            -- the event that this one cancels
    ADD COLUMN stated_at timestamptz,                 -- a retraction's own time; occurred_at is its event's
    ADD COLUMN void boolean NOT NULL DEFAULT false,   -- a parked event that was retracted, or its retraction: waits for nothing
    ADD CHECK ((retracts IS NULL) = (stated_at IS NULL)),
    ADD CHECK (NOT void OR rate_id IS NULL),
    DROP CONSTRAINT usage_events_input_check,
    DROP CONSTRAINT usage_events_output_check,
    DROP CONSTRAINT usage_events_cache_write_5m_check,
    DROP CONSTRAINT usage_events_cache_write_1h_check,
    DROP CONSTRAINT usage_events_cache_read_check,
    DROP CONSTRAINT usage_events_web_search_check;

-- What is stored kept the old bounds: it need not be read again.
ALTER TABLE usage_events
    ADD CONSTRAINT usage_events_counts_check CHECK (
        CASE WHEN retracts IS NULL
             THEN least(input, output, cache_write_5m, cache_write_1h, cache_read, web_search) >= 0
                  AND greatest(input, output, cache_write_5m, cache_write_1h, cache_read, web_search) <= 1000000000000
             ELSE greatest(input, output, cache_write_5m, cache_write_1h, cache_read, web_search) <= 0
                  AND least(input, output, cache_write_5m, cache_write_1h, cache_read, web_search) >= -1000000000000 END) NOT VALID;

CREATE UNIQUE INDEX usage_events_retracted_once ON usage_events (org_id, retracts) WHERE retracts IS NOT NULL;

DROP INDEX usage_events_parked;
CREATE INDEX usage_events_parked ON usage_events (org_id, model) WHERE rate_id IS NULL AND NOT void;
