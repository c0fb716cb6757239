-- Keeps the number for work on another branch: the merge puts that file in this
-- one's place.
SELECT 1;
