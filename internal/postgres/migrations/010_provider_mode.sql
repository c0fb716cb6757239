-- The mode of the payment provider in which this database's customers and invoices
-- were made: true is live, false is test, null is not known yet. A program with a
-- key of the other mode does not start.
ALTER TABLE installation ADD COLUMN stripe_live boolean;
