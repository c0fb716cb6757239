// Package fakestripe is the Stripe of the development stack: an HTTP server
// that an unmodified stripe-go v76 talks to (API version 2023-10-16, test mode
// only). It never runs in production.
//
// # Kept as at Stripe
//
//   - Objects: customers, payment methods, invoices, invoice items, payment
//     intents, charges, refunds, disputes, credit notes, cash balances, events,
//     test clocks and webhook endpoints, with ids, lists, paging, metadata limits
//     and expansion.
//   - Idempotency keys: the first status and body are stored once execution
//     begins, declines and 500s included, and replayed for 24 hours. Refusals
//     before that (validation, 409, 429) are not stored.
//   - The invoice's edges, its number at finalisation, the customer balance, the
//     smallest charge (paid at once, the amount moved to the balance) and the
//     largest one.
//   - One PaymentIntent per invoice and one Charge per attempt; declines as 402
//     with the intent inside; attempt_count stays 1 for attempts by hand.
//   - Bank debits that settle, or come back, four days later;
//     pm_usBankAccount_processing never does.
//   - Bank transfers into the customer's cash balance, by Stripe's test helper,
//     which pay what was sent to the customer in part or in full.
//   - Disputes and inquiries by Stripe's test cards, ended by Stripe's test
//     evidence; refunds that pend or fail later.
//   - Three customers to a test clock, and lists of customers without those that
//     are on one.
//   - Test clocks: everything that a customer on a clock owns bears its time.
//   - Events, kept for 30 days, and signed webhooks: at least once, unordered.
//   - Lists see every write at once; search is a minute behind.
//   - Rate limits: per second in all, per endpoint, and 20 on search; off unless
//     [Options] or [Server.SetLimits] say so. Stripe takes 300 ms for a call and
//     this takes less than one, so that a command that makes one call after the
//     other would meet limits here that it never meets there.
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
//   - /_local/webhooks and [Server.InjectWebhooks]: deliveries that go wrong, or
//     are forged, on order; [Server.Redeliver].
//   - /_local/limits and [Server.SetLimits].
//   - POST /_local/payment_intents/{id}/authenticate: the customer's 3-D Secure.
//   - Events bear the wall clock even when their object is on a test clock.
//   - Refunds that go on later do so after an hour. A bank debit's dispute is lost
//     when it is opened. What came by bank transfer in part is shown as paid on the
//     invoice at once, and becomes one charge when the rest has come; until then
//     the invoice can be neither charged nor voided.
//
// # Not modelled
//
// Hosted invoice pages and PDFs (the links lead nowhere), verification of bank
// accounts, subscriptions, prices, taxes, discounts, Connect, payouts, balance
// transactions, SetupIntents, creating or confirming PaymentIntents, Smart
// Retries, limits on concurrency, the rule that three-decimal amounts end in 0,
// expiring cards, evidence that comes too late, previous_attributes in events,
// invoiceitem events, and invoice.updated for items added to a draft. A parameter
// that is not modelled is refused as unknown rather than ignored. Only the last
// 100,000 events are kept.
package fakestripe
