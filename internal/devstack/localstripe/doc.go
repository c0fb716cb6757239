// Package localstripe is the Stripe of the development stack: an HTTP server
// that an unmodified stripe-go v76 talks to (API version 2023-10-16, test mode
// only). It never runs in production.
//
// # Kept as at Stripe
//
//   - Objects: customers, payment methods, invoices, invoice items, payment
//     intents, charges, refunds, credit notes, events, test clocks and webhook
//     endpoints, with ids, lists, paging, metadata limits and expansion.
//   - Idempotency keys: the first status and body are stored once execution
//     begins, declines and 500s included, and replayed for 24 hours.
//   - The invoice's edges, its number at finalisation, the customer balance, the
//     smallest charge (paid at once, the amount moved to the balance) and the
//     largest one.
//   - One PaymentIntent per invoice and one Charge per attempt; declines as 402
//     with the intent inside; attempt_count stays 1 for attempts by hand.
//   - Bank debits that settle, or come back, four days later;
//     pm_usBankAccount_processing never does.
//   - Three customers to a test clock, and lists of customers without those that
//     are on one.
//   - Test clocks: everything that a customer on a clock owns bears its time.
//   - Events, kept for 30 days, and signed webhooks: at least once, unordered.
//
// Refusals of invoice edges carry no code, only Stripe's message, as recorded
// against Stripe. Voiding an uncollectible invoice follows the documentation
// (allowed); a recording of a later API version was refused.
//
// # Its own, not Stripe's
//
//   - pm_local_card_<decline_code>: attaches, then every charge is declined with
//     that code. Stripe's own declining cards are refused at attach.
//   - /_local/faults, /_local/release and [Server.Inject]: failures on order.
//   - POST /_local/payment_intents/{id}/authenticate: the customer's 3-D Secure.
//   - Events bear the wall clock even when their object is on a test clock.
//
// # Not modelled
//
// Hosted invoice pages and PDFs (the links lead nowhere), verification of bank
// accounts, subscriptions, prices, taxes, discounts, Connect, disputes, payouts, balance
// transactions, SetupIntents, creating or confirming PaymentIntents, voiding
// credit notes, Smart Retries, rate limits, the rule that three-decimal amounts
// end in 0, expiring cards, previous_attributes in events, invoiceitem events,
// and invoice.updated for items added to a draft. Search sees every write at
// once, where Stripe's lags. A parameter that is not modelled is refused as
// unknown rather than ignored. Only the last 100,000 events are kept.
package localstripe
