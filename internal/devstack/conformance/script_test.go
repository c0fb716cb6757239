package conformance

import "strings"

// call is one step of the script.
type call struct {
	does   string // what is asked, as the table says it
	method string
	path   string // {name} stands for what an earlier call saved
	form   string
	key    string // idempotency key; calls without one are told apart by Stripe itself
	save   string // NAME=PATH,…: what later calls need of the answer
	show   string // paths into the answer, by blanks, that must agree everywhere
	mock   string // why stripe-mock answers otherwise; "" = it agrees on status and object
	later  bool   // Stripe itself may need a moment
	only   string // why the call is not made of Stripe itself; "" = it is
}

const (
	stateless = "keeps no state" // any id is good, and nothing is refused for what was done before
	noKeys    = "knows no idempotency keys"
	noBank    = "knows no banks"
)

// script is what the product relies on, and a little more.
func script() []call {
	long := strings.Repeat("k", 256)
	return []call{
		// Keys and parameters.
		{does: "an invalid key", method: "GET", path: "/v1/customers?bad_key", show: "error.type"},
		{does: "an unknown path", method: "GET", path: "/v1/nothing", show: "error.type"},
		{does: "an unknown parameter", method: "POST", path: "/v1/customers", form: "colour=blue", show: "error.type error.code error.param"},
		{does: "a missing parameter", method: "POST", path: "/v1/invoiceitems", form: "amount=1&currency=usd", show: "error.type error.code error.param", mock: "is made from today's schema, which does not require it"},
		{does: "a key of 256 characters", method: "POST", path: "/v1/customers", key: long, show: "error.type", mock: noKeys},
		{does: "create a customer", method: "POST", path: "/v1/customers", form: "name=acme&email=billing@acme.example&metadata[org]=acme", key: "acme", save: "acme=id", show: "object name metadata.org livemode balance"},
		{does: "the same again under its key", method: "POST", path: "/v1/customers", form: "name=acme&email=billing@acme.example&metadata[org]=acme", key: "acme", show: "object name id={acme} replayed"},
		{does: "another name under that key", method: "POST", path: "/v1/customers", form: "name=other", key: "acme", show: "error.type", mock: noKeys},
		{does: "the key on another path", method: "POST", path: "/v1/invoices", form: "customer={acme}", key: "acme", show: "error.type", mock: noKeys},
		{does: "retrieve the customer", method: "GET", path: "/v1/customers/{acme}", show: "object id={acme} metadata.org"},
		{does: "retrieve one that does not exist", method: "GET", path: "/v1/customers/cus_none", show: "error.type error.code error.param", mock: stateless},

		// Payment methods.
		{does: "attach a card", method: "POST", path: "/v1/payment_methods/pm_card_visa/attach", form: "customer={acme}", save: "visa=id", show: "object type card.brand card.last4 customer={acme}"},
		{does: "attach a card that is declined", method: "POST", path: "/v1/payment_methods/pm_card_visa_chargeDeclinedInsufficientFunds/attach", form: "customer={acme}", show: "error.type error.code error.decline_code", mock: noBank},
		{does: "attach to nobody", method: "POST", path: "/v1/payment_methods/pm_card_visa/attach", form: "customer=cus_none", show: "error.type error.code error.param", mock: stateless},
		{does: "make it the default", method: "POST", path: "/v1/customers/{acme}", form: "invoice_settings[default_payment_method]={visa}", show: "object invoice_settings.default_payment_method={visa}"},

		// An invoice from draft to paid.
		{does: "create a draft", method: "POST", path: "/v1/invoices", form: "customer={acme}&currency=usd&auto_advance=false&collection_method=charge_automatically&pending_invoice_items_behavior=exclude", key: "draft", save: "draft=id", show: "object status auto_advance total collection_method"},
		{does: "a due date for what is charged", method: "POST", path: "/v1/invoices", form: "customer={acme}&collection_method=charge_automatically&days_until_due=30", show: "error.type", mock: stateless},
		{does: "add an item", method: "POST", path: "/v1/invoiceitems", form: "customer={acme}&invoice={draft}&amount=1000&currency=usd&description=tokens", key: "item", save: "item=id", show: "object amount currency invoice={draft}"},
		{does: "add an item below zero", method: "POST", path: "/v1/invoiceitems", form: "customer={acme}&invoice={draft}&amount=-100&currency=usd", show: "object amount"},
		{does: "an item that is no integer", method: "POST", path: "/v1/invoiceitems", form: "customer={acme}&invoice={draft}&amount=1.5&currency=usd", show: "error.type error.code error.param"},
		{does: "an item in another currency", method: "POST", path: "/v1/invoiceitems", form: "customer={acme}&invoice={draft}&amount=1&currency=eur", show: "error.type", mock: stateless},
		{does: "an item for no invoice", method: "POST", path: "/v1/invoiceitems", form: "customer={acme}&invoice=in_none&amount=1&currency=usd", show: "error.type error.code error.param", mock: stateless},
		{does: "list the draft's items", method: "GET", path: "/v1/invoiceitems?invoice={draft}", show: "object data.#"},
		{does: "the draft adds up", method: "GET", path: "/v1/invoices/{draft}", show: "object status total amount_due amount_remaining lines.data.#"},
		{does: "finalize", method: "POST", path: "/v1/invoices/{draft}/finalize", form: "auto_advance=false", key: "finalize", save: "intent=payment_intent", show: "object status total amount_due amount_paid auto_advance"},
		{does: "finalize once more", method: "POST", path: "/v1/invoices/{draft}/finalize", show: "error.type", mock: stateless},
		{does: "an item for a final invoice", method: "POST", path: "/v1/invoiceitems", form: "customer={acme}&invoice={draft}&amount=1&currency=usd", show: "error.type", mock: stateless},
		{does: "delete a final invoice", method: "DELETE", path: "/v1/invoices/{draft}", show: "error.type", mock: stateless},
		{does: "pay", method: "POST", path: "/v1/invoices/{draft}/pay", form: "off_session=true&expand[]=payment_intent", key: "pay", save: "charge=charge", show: "object status paid amount_paid amount_remaining attempt_count payment_intent.status"},
		{does: "pay again under its key", method: "POST", path: "/v1/invoices/{draft}/pay", form: "off_session=true&expand[]=payment_intent", key: "pay", show: "object status replayed"},
		{does: "pay again under another key", method: "POST", path: "/v1/invoices/{draft}/pay", form: "off_session=true", show: "error.type", mock: stateless},
		{does: "void what is paid", method: "POST", path: "/v1/invoices/{draft}/void", show: "error.type", mock: stateless},
		{does: "list the charges of the payment", method: "GET", path: "/v1/charges?payment_intent={intent}", show: "object data.# data.0.status data.0.amount"},
		{does: "list the customer's invoices", method: "GET", path: "/v1/invoices?customer={acme}&limit=1", show: "object data.# data.0.id={draft}"},

		// Giving back.
		{does: "refund a part", method: "POST", path: "/v1/refunds", form: "charge={charge}&amount=400", key: "refund", save: "refund=id", show: "object status amount"},
		{does: "refund more than is left", method: "POST", path: "/v1/refunds", form: "charge={charge}&amount=901", show: "error.type", mock: stateless},
		{does: "credit a paid invoice to the balance", method: "POST", path: "/v1/credit_notes", form: "invoice={draft}&amount=100&credit_amount=100", show: "object status amount type"},
		{does: "the customer has a balance", method: "GET", path: "/v1/customers/{acme}", show: "object balance"},
		{does: "take the balance away", method: "POST", path: "/v1/customers/{acme}", form: "balance=0", show: "object balance"},

		// A card that declines.
		{does: "a customer whose card will decline", method: "POST", path: "/v1/customers", form: "name=broke&payment_method=pm_card_chargeCustomerFail&invoice_settings[default_payment_method]=pm_card_chargeCustomerFail", save: "broke=id", show: "object"},
		{does: "an item that is pending", method: "POST", path: "/v1/invoiceitems", form: "customer={broke}&amount=1000&currency=usd", show: "object amount invoice"},
		{does: "a draft takes pending items in", method: "POST", path: "/v1/invoices", form: "customer={broke}&pending_invoice_items_behavior=include", save: "unpaid=id", show: "object status total"},
		{does: "pay: declined", method: "POST", path: "/v1/invoices/{unpaid}/pay", key: "decline", show: "error.type error.code error.decline_code error.payment_intent.status", mock: noBank},
		{does: "the decline again under its key", method: "POST", path: "/v1/invoices/{unpaid}/pay", key: "decline", show: "error.type error.code replayed", mock: noKeys},
		{does: "it is open, and was tried", method: "GET", path: "/v1/invoices/{unpaid}", show: "object status attempted attempt_count amount_remaining"},
		{does: "credit an open invoice", method: "POST", path: "/v1/credit_notes", form: "invoice={unpaid}&amount=300", show: "object status amount type"},
		{does: "less remains", method: "GET", path: "/v1/invoices/{unpaid}", show: "object status amount_due amount_remaining pre_payment_credit_notes_amount"},
		{does: "mark it uncollectible", method: "POST", path: "/v1/invoices/{unpaid}/mark_uncollectible", show: "object status"},
		{does: "void it then", method: "POST", path: "/v1/invoices/{unpaid}/void", show: "object status"},
		{does: "pay what is void", method: "POST", path: "/v1/invoices/{unpaid}/pay", show: "error.type", mock: stateless},

		// Amounts too small, too large, and none.
		{does: "a customer for odd amounts", method: "POST", path: "/v1/customers", form: "name=odd&email=odd@acme.example&payment_method=pm_card_visa&invoice_settings[default_payment_method]=pm_card_visa", save: "odd=id", show: "object"},
		{does: "an invoice of 30 cents", method: "POST", path: "/v1/invoices", form: "customer={odd}&currency=usd", save: "small=id", show: "object status"},
		{does: "its item", method: "POST", path: "/v1/invoiceitems", form: "customer={odd}&invoice={small}&amount=30&currency=usd", show: "object"},
		{does: "below the smallest charge: paid, not charged", method: "POST", path: "/v1/invoices/{small}/finalize", show: "object status amount_due ending_balance"},
		{does: "the amount waits in the balance", method: "GET", path: "/v1/customers/{odd}", show: "object balance"},
		{does: "an invoice of nothing", method: "POST", path: "/v1/invoices", form: "customer={odd}&currency=usd", save: "none=id", show: "object total"},
		{does: "delete a draft", method: "DELETE", path: "/v1/invoices/{none}", show: "object deleted"},
		{does: "an invoice above the largest charge", method: "POST", path: "/v1/invoices", form: "customer={odd}&currency=usd", save: "large=id", show: "object status"},
		{does: "its item", method: "POST", path: "/v1/invoiceitems", form: "customer={odd}&invoice={large}&amount=100000000&currency=usd", show: "object"},
		{does: "pay above the largest charge", method: "POST", path: "/v1/invoices/{large}/pay", show: "error.type error.code", mock: noBank},

		// Invoices that are sent.
		{does: "sent without an address", method: "POST", path: "/v1/invoices", form: "customer={broke}&collection_method=send_invoice&days_until_due=30", show: "error.type", mock: stateless},
		{does: "sent without a due date", method: "POST", path: "/v1/invoices", form: "customer={acme}&collection_method=send_invoice", show: "error.type", mock: stateless},
		{does: "sent, due in 30 days", method: "POST", path: "/v1/invoices", form: "customer={acme}&currency=usd&collection_method=send_invoice&days_until_due=30", save: "sent=id", show: "object status collection_method"},
		{does: "its item", method: "POST", path: "/v1/invoiceitems", form: "customer={acme}&invoice={sent}&amount=5000&currency=usd", show: "object"},
		{does: "finalize it", method: "POST", path: "/v1/invoices/{sent}/finalize", save: "number=number", show: "object status amount_due"},
		{does: "a bank transfer of a part", method: "POST", path: "/v1/test_helpers/customers/{acme}/fund_cash_balance", form: "amount=2000&currency=usd&reference={number}", show: "object type net_amount", only: "needs bank transfers turned on in the account"},
		{does: "it is paid in part", method: "GET", path: "/v1/invoices/{sent}", show: "object status amount_paid amount_remaining", only: "as above"},
		{does: "the rest was paid elsewhere", method: "POST", path: "/v1/invoices/{sent}/pay", form: "paid_out_of_band=true", show: "object status paid paid_out_of_band"},

		// What banks and customers do.
		{does: "a customer whose bank wants to ask", method: "POST", path: "/v1/customers", form: "name=asks&payment_method=pm_card_authenticationRequired&invoice_settings[default_payment_method]=pm_card_authenticationRequired", save: "asks=id", show: "object"},
		{does: "an item for it", method: "POST", path: "/v1/invoiceitems", form: "customer={asks}&amount=1000&currency=usd", show: "object"},
		{does: "its invoice", method: "POST", path: "/v1/invoices", form: "customer={asks}&pending_invoice_items_behavior=include", save: "asked=id", show: "object status"},
		{does: "pay without the customer", method: "POST", path: "/v1/invoices/{asked}/pay", form: "off_session=true", show: "error.type error.code", mock: noBank},
		{does: "a customer who disputes", method: "POST", path: "/v1/customers", form: "name=disputes&payment_method=pm_card_createDispute&invoice_settings[default_payment_method]=pm_card_createDispute", save: "disputes=id", show: "object"},
		{does: "an item for it", method: "POST", path: "/v1/invoiceitems", form: "customer={disputes}&amount=1000&currency=usd", show: "object"},
		{does: "its invoice", method: "POST", path: "/v1/invoices", form: "customer={disputes}&pending_invoice_items_behavior=include", save: "disputed=id", show: "object status"},
		{does: "pay, and be disputed", method: "POST", path: "/v1/invoices/{disputed}/pay", save: "taken=charge", show: "object status"},
		{does: "the dispute", method: "GET", path: "/v1/disputes?charge={taken}", later: true, show: "object data.# data.0.status data.0.reason data.0.amount"},

		// What happened.
		{does: "events of paid invoices", method: "GET", path: "/v1/events?type=invoice.paid&limit=1", save: "event=data.0.id", show: "object data.# data.0.api_version"},
		{does: "one of them", method: "GET", path: "/v1/events/{event}", show: "object type data.object.object data.object.status"},
		{does: "a page that is too large", method: "GET", path: "/v1/invoices?limit=101", show: "error.type error.code", mock: "knows no upper bound of pages"},
	}
}
