-- Amounts are numbers: a numeric may also be NaN or infinite, and a sum with one
-- of those is lost for good. NaN is above every number. Reads each table once.
ALTER TABLE rates ADD CONSTRAINT rates_finite CHECK (
    least(input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution) > '-Infinity'
    AND greatest(input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution) < 'Infinity');
ALTER TABLE usage_totals ADD CONSTRAINT usage_totals_finite CHECK (
    least(input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution) > '-Infinity'
    AND greatest(input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution) < 'Infinity');
ALTER TABLE limit_spent_before ADD CONSTRAINT limit_spent_before_finite CHECK (spent > '-Infinity' AND spent < 'Infinity');
ALTER TABLE notices ADD CONSTRAINT notices_finite CHECK (
    least(amount, spent) > '-Infinity' AND greatest(amount, spent) < 'Infinity');
ALTER TABLE invoices ADD CONSTRAINT invoices_finite CHECK (
    least(subtotal, discount, total) > '-Infinity' AND greatest(subtotal, discount, total) < 'Infinity');
ALTER TABLE invoice_lines ADD CONSTRAINT invoice_lines_finite CHECK (
    least(quantity, unit_price, exact_amount, amount) > '-Infinity' AND greatest(quantity, unit_price, exact_amount, amount) < 'Infinity');
ALTER TABLE invoice_line_members ADD CONSTRAINT invoice_line_members_finite CHECK (
    least(quantity, exact_amount, amount) > '-Infinity' AND greatest(quantity, exact_amount, amount) < 'Infinity');
ALTER TABLE provider_items ADD CONSTRAINT provider_items_finite CHECK (amount > '-Infinity' AND amount < 'Infinity');
ALTER TABLE payments ADD CONSTRAINT payments_finite CHECK (received_before < 'Infinity');
ALTER TABLE payment_notices ADD CONSTRAINT payment_notices_finite CHECK (amount > '-Infinity' AND amount < 'Infinity');
ALTER TABLE price_change_organizations ADD CONSTRAINT price_change_organizations_finite CHECK (difference > '-Infinity' AND difference < 'Infinity');
ALTER TABLE price_change_spend ADD CONSTRAINT price_change_spend_finite CHECK (difference > '-Infinity' AND difference < 'Infinity');
