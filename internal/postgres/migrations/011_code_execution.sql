-- Code execution: the seconds that code ran, as they are billed, a class like the
-- others. What is stored ran no code, so no row is written again; the check of
-- counts is built anew without reading the table.
ALTER TABLE tool_prices
    ADD COLUMN minimum        bigint NOT NULL DEFAULT 0 CHECK (minimum >= 0),        -- seconds an event is billed for at least
    ADD COLUMN free_per_month bigint NOT NULL DEFAULT 0 CHECK (free_per_month >= 0); -- seconds of an organisation's billing month

ALTER TABLE rates
    ADD COLUMN code_execution         numeric NOT NULL DEFAULT 0,
    ADD COLUMN code_execution_per     bigint  NOT NULL DEFAULT 0, -- 0 = not priced
    ADD COLUMN code_execution_minimum bigint  NOT NULL DEFAULT 0;

ALTER TABLE usage_events
    ADD COLUMN code_execution bigint NOT NULL DEFAULT 0, -- at least the minimum, once it has a rate
    ADD COLUMN discarded      text,                      -- why a parked event is void without a retraction
    ADD CHECK (discarded IS NULL OR void),
    DROP CONSTRAINT usage_events_counts_check;
ALTER TABLE usage_events
    ADD CONSTRAINT usage_events_counts_check CHECK (
        CASE WHEN retracts IS NULL
             THEN least(input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution) >= 0
                  AND greatest(input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution) <= 1000000000000
             ELSE greatest(input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution) <= 0
                  AND least(input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution) >= -1000000000000 END) NOT VALID;

ALTER TABLE usage_totals ADD COLUMN code_execution numeric NOT NULL DEFAULT 0;

-- What was spent before a limit got its amount, in the month in which it did: of
-- the organisation, the user, or the tier's pool; of every user for a limit of
-- each member. An older limit has no row: nothing is known to predate it.
CREATE TABLE limit_spent_before (
    limit_id     bigint           NOT NULL REFERENCES limits,
    subject      text COLLATE "C" NOT NULL, -- as the counter's
    window_start timestamptz      NOT NULL,
    spent        numeric          NOT NULL,
    PRIMARY KEY (limit_id, subject)
);
