-- Held for the schema change that a parallel branch brings under this number.
SELECT 1;
