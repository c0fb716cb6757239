package notify

import (
	"fmt"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

// PaymentEvent is what happened to an invoice on its way to being paid.
type PaymentEvent string

// The events that the billing contact is told.
const (
	PaymentDeclined       PaymentEvent = "declined"        // a charge failed and will be tried again
	PaymentActionRequired PaymentEvent = "action_required" // the bank wants the payer's confirmation
	PaymentPastDue        PaymentEvent = "past_due"        // no further attempt, or the due date has passed
	PaymentReceived       PaymentEvent = "received"        // paid
	InvoiceSent           PaymentEvent = "invoice_sent"    // to be paid by the due date
	PaymentReminder       PaymentEvent = "reminder"        // a sent invoice is due soon, or overdue
	PaymentMethodMissing  PaymentEvent = "no_payment_method"
	OrganizationSuspended PaymentEvent = "suspended" // requests are blocked until the invoice is paid
)

// PaymentNotice says what happened to an invoice's payment. As JSON it is the
// payload for machines.
type PaymentNotice struct {
	Event        PaymentEvent  `json:"event"`
	Organization string        `json:"organization"`
	Invoice      string        `json:"invoice"` // id
	Number       string        `json:"number"`
	Amount       billing.Money `json:"amount"`                 // due, or received
	Attempt      int           `json:"attempt"`                // from 1; 0 = none was made
	FailureCode  string        `json:"failure_code,omitempty"` // the provider's
	NextAttempt  *time.Time    `json:"next_attempt_at"`        // nil = none
	DueAt        *time.Time    `json:"due_at"`                 // past due from then on
	DueDate      string        `json:"due_date,omitempty"`     // of a sent invoice: the last local date on which it can be paid in time
	Day          int           `json:"day,omitempty"`          // of a reminder: days after the due date, below zero before it
	URL          string        `json:"url,omitempty"`          // where to see, confirm or pay the invoice
	At           time.Time     `json:"at"`

	To []string `json:"-"`
}

// Payment writes a payment notice. Its key names the invoice, the event, the
// attempt and a reminder's day, so each is told once.
func Payment(n PaymentNotice) Message {
	number := n.Number
	if number == "" {
		number = n.Invoice
	}
	subject, story := n.story(printable(number))
	var text letter
	text.paragraph(story...)
	text.facts(
		[2]string{"Organisation", n.Organization},
		[2]string{"Invoice", number},
		[2]string{"Amount", n.Amount.String()},
		[2]string{"Due", n.due()},
		[2]string{"Next attempt", optional(n.NextAttempt)},
		[2]string{"See", n.URL},
	)
	if n.Event == PaymentDeclined || n.Event == PaymentPastDue || n.Event == PaymentMethodMissing {
		text.paragraph("A new payment method is charged as soon as it is set. An owner or billing manager of",
			printable(n.Organization), "can set one.")
	}
	text.facts([2]string{"Written", moment(n.At)})
	key := fmt.Sprintf("payment/%s/%s/%d", n.Invoice, n.Event, n.Attempt)
	if n.Day != 0 {
		key += fmt.Sprintf("/day/%d", n.Day)
	}
	return Message{
		Key: key,
		To:  n.To, Subject: oneLine(printable(n.Organization) + ": " + subject), Text: text.String(),
		Type: "payment." + string(n.Event), At: n.At, Data: n,
	}
}

// story says in one line and in full what happened and what it means.
func (n *PaymentNotice) story(number string) (subject string, sentences []string) {
	amount := n.Amount.String()
	switch n.Event {
	case PaymentDeclined:
		subject = "payment of invoice " + number + " was declined"
		sentences = []string{"The payment of " + amount + " for invoice " + number + " was declined" + attempt(n.Attempt) + ":", because(n.FailureCode) + "."}
		if n.NextAttempt != nil {
			sentences = append(sentences, "It will be tried again on "+moment(*n.NextAttempt)+".")
		}
	case PaymentActionRequired:
		subject = "payment of invoice " + number + " needs your confirmation"
		sentences = []string{"The bank wants the payment of " + amount + " for invoice " + number + " to be confirmed by the payer. Nothing is paid until then."}
	case PaymentPastDue:
		subject = "invoice " + number + " is past due"
		sentences = []string{"Invoice " + number + " over " + amount + " is not paid and is now past due."}
		if n.Attempt > 0 {
			sentences = append(sentences, fmt.Sprintf("After %s there is no further one by itself;", plural(n.Attempt, "attempt")), "the last one was declined:", because(n.FailureCode)+".")
		}
	case PaymentReceived:
		subject = "payment of invoice " + number + " received"
		sentences = []string{"Thank you. The payment of " + amount + " for invoice " + number + " was received; nothing more is due on it."}
	case InvoiceSent:
		subject = "invoice " + number + " over " + amount
		sentences = []string{"Invoice " + number + " over " + amount + " is ready to be paid."}
		if due := n.due(); due != "" {
			sentences = append(sentences, "Please pay it by "+due+".")
		}
	case PaymentReminder:
		subject, sentences = n.reminder(number)
	case PaymentMethodMissing:
		subject = "invoice " + number + " cannot be charged: there is no payment method"
		sentences = []string{"Invoice " + number + " over " + amount + " is to be paid, and there is no payment method that could be charged."}
		if n.NextAttempt == nil {
			sentences = append(sentences, "It is past due now.")
		}
	case OrganizationSuspended:
		subject = "suspended because invoice " + number + " is overdue"
		sentences = []string{
			"Requests of " + printable(n.Organization) + " are blocked from now on, because invoice " + number + " over " + amount + " has not been paid.",
			"They run again as soon as it is.",
		}
	default: // from a newer sender
		subject = "news of invoice " + number
		sentences = []string{"Invoice " + number + " over " + amount + ": " + printable(string(n.Event)) + "."}
	}
	return subject, sentences
}

// due is until when to pay: through a day, or until an instant; "" = nothing says.
func (n *PaymentNotice) due() string {
	if day, err := time.Parse(time.DateOnly, n.DueDate); err == nil {
		return day.Format("2 January 2006")
	}
	return optional(n.DueAt)
}

// reminder says that a sent invoice is due soon, or has been for some days.
func (n *PaymentNotice) reminder(number string) (subject string, sentences []string) {
	amount := n.Amount.String()
	if n.Day < 0 {
		subject = "invoice " + number + " is due soon"
		sentences = []string{"This is a reminder: " + amount + " of invoice " + number + " are not paid yet."}
		if due := n.due(); due != "" {
			sentences = append(sentences, "Please pay by "+due+".")
		}
		return subject, sentences
	}
	return "invoice " + number + " is overdue", []string{
		"This is a reminder: " + amount + " of invoice " + number + " have been due for " + plural(n.Day, "day") + ". Please pay now.",
	}
}

// because puts a decline code in words. As card networks ask, what hints at
// fraud is not told to the payer.
func because(code string) string {
	switch code {
	case "insufficient_funds":
		return "the account does not have enough funds"
	case "expired_card":
		return "the card has expired"
	case "incorrect_number", "invalid_number", "invalid_account":
		return "the number is not valid"
	case "incorrect_cvc", "invalid_cvc":
		return "the security code is not correct"
	case "card_not_supported", "currency_not_supported":
		return "the card does not support this payment"
	case billing.FailureCardCeiling:
		return "an amount this high is not charged to a card; please pay by bank transfer"
	case billing.FailureNoMethod:
		return "there is no payment method that could be charged"
	case "authentication_required":
		return "the bank asks for the payer's confirmation"
	case "processing_error", "try_again_later", "issuer_not_available":
		return "the bank could not process it at the time"
	default:
		return "the bank gave no reason that can be told here"
	}
}

func attempt(n int) string {
	if n > 1 {
		return fmt.Sprintf(" (attempt %d)", n)
	}
	return ""
}

func plural(n int, noun string) string {
	if n == 1 {
		return "one " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func optional(t *time.Time) string {
	if t == nil {
		return ""
	}
	return moment(*t)
}
