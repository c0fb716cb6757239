package billing

import (
	"slices"
	"time"
)

// DefaultDunning is on which days after the first attempt a declined invoice is
// charged again: eight attempts in two weeks, as the provider recommends.
func DefaultDunning() []int { return []int{0, 1, 3, 5, 7, 10, 12, 14} }

// maxDunningDays bounds how long after the first attempt the last one may be.
const maxDunningDays = 365

// CheckDunning says what is wrong with a dunning table, or nil.
func CheckDunning(days []int) error {
	wrong := len(days) == 0 || len(days) > 20 || days[0] != 0 || days[len(days)-1] > maxDunningDays
	if wrong || !slices.IsSorted(days) || len(slices.Compact(slices.Clone(days))) != len(days) {
		return Invalid("dunning: accepted: 1 to 20 ascending days after the first attempt, beginning with 0 and up to %d", maxDunningDays)
	}
	return nil
}

// NextAttempt returns when an invoice first charged at first is charged again
// after so many scheduled attempts; ok is false when the table is used up.
// Days are of 24 hours.
func NextAttempt(dunning []int, first time.Time, attempts int) (at time.Time, ok bool) {
	if attempts >= len(dunning) {
		return time.Time{}, false
	}
	return first.Add(time.Duration(dunning[attempts]) * 24 * time.Hour), true
}

// leastPayersTime is how long a payer who must act has at least.
const leastPayersTime = 3 * 24 * time.Hour

// PayersDeadline returns until when a payer who was asked for something at now
// may do it: as long as a declined invoice would have been charged again.
func PayersDeadline(dunning []int, first, now time.Time) time.Time {
	last, _ := NextAttempt(dunning, first, len(dunning)-1)
	if least := now.Add(leastPayersTime); last.Before(least) {
		return least
	}
	return last
}

// hardDeclines are the reasons for which a card is not tried again: the card
// will never pay, and card networks penalise trying.
var hardDeclines = []string{
	"incorrect_number", "invalid_account", "lost_card", "stolen_card", "pickup_card", "restricted_card",
	"revocation_of_all_authorizations", "revocation_of_authorization", "stop_payment_order", "fraudulent",
	"card_not_supported", "currency_not_supported", "transaction_not_allowed", FailureCardCeiling,
}

// HardDecline reports whether a decline code rules out further attempts with the
// same payment method.
func HardDecline(code string) bool { return slices.Contains(hardDeclines, code) }
