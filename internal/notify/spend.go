package notify

import (
	"fmt"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

// SpendNotice says that spend has reached a threshold of a limit. As JSON it is
// the payload for machines.
type SpendNotice struct {
	ID           string        `json:"id"`
	Organization string        `json:"organization"`
	Scope        billing.Scope `json:"scope"`
	Subject      string        `json:"subject"`        // whose spend: the user, or the tier where it is pooled; "" for the organisation
	Tier         string        `json:"tier,omitempty"` // whose limit, where it is a seat tier's
	LimitID      string        `json:"limit_id"`
	LimitVersion int           `json:"limit_version"`
	Threshold    int           `json:"threshold"` // percent
	Percent      string        `json:"percent"`   // of the limit that is spent, exact enough to show; "" for a limit of zero
	Limit        billing.Money `json:"limit"`
	Spent        billing.Money `json:"spent"`
	PeriodStart  time.Time     `json:"period_start"` // the limit's window
	ResetsAt     time.Time     `json:"resets_at"`
	At           time.Time     `json:"at"`
	Late         bool          `json:"late"` // it concerns a window that is over

	To []string `json:"-"`
}

// Spend writes a spend notice.
func Spend(n SpendNotice) Message {
	who, whose := n.who()
	organization := printable(n.Organization)
	reached := fmt.Sprintf("has reached %d%% of %s", n.Threshold, whose)
	spent := fmt.Sprintf("%s of %s", n.Spent, n.Limit)
	if n.Percent != "" {
		spent += " (" + n.Percent + "%)"
	}
	switch {
	case n.Limit.Amount.IsZero():
		reached = "has spent although " + whose + " is zero"
	case n.Threshold == 100:
		reached = "has reached " + whose
	}
	resets := [2]string{"Resets", moment(n.ResetsAt)}
	if n.Late {
		resets[0] = "Ended"
	}
	subject := organization + ": " + who + " " + reached
	if n.Scope == billing.ScopeOrganization {
		subject = organization + " " + reached
	}
	if n.Late {
		subject += " (earlier period)"
	}

	var text letter
	text.paragraph(capital(who), reached+".", n.meaning())
	text.facts(
		[2]string{"Organisation", n.Organization},
		[2]string{"Seat tier", n.Tier},
		[2]string{"Spent", spent},
		[2]string{"Counted from", moment(n.PeriodStart)},
		resets,
	)
	text.paragraph("Spend counts at list price.",
		"The limit can be changed by an owner, primary owner or billing manager of "+organization+"; a change takes effect at once.")
	text.facts([2]string{"Notice", fmt.Sprintf("%s, limit %s version %d", n.ID, n.LimitID, n.LimitVersion)},
		[2]string{"Written", moment(n.At)})
	return Message{Key: "notice/" + n.ID, To: n.To, Subject: oneLine(subject), Text: text.String(), Type: "spend.threshold_reached", At: n.At, Data: n}
}

// who names the spender, and the limit from the spender's side.
func (n *SpendNotice) who() (who, limit string) {
	subject, tier := printable(n.Subject), printable(n.Tier)
	switch {
	case n.Scope == billing.ScopeUser:
		return "member " + subject, "their monthly spend limit"
	case n.Scope == billing.ScopeSeatTier && tier != "" && tier != subject:
		return "member " + subject, "the monthly spend limit of each member on seat tier " + tier
	case n.Scope == billing.ScopeSeatTier:
		return "seat tier " + subject, "the monthly spend limit of its members together"
	default:
		return "the organisation " + printable(n.Organization), "its monthly spend limit"
	}
}

// meaning says what follows.
func (n *SpendNotice) meaning() string {
	whom := "this member"
	switch {
	case n.Scope == billing.ScopeOrganization:
		whom = "the whole organisation"
	case n.Scope == billing.ScopeSeatTier && (n.Tier == "" || n.Tier == n.Subject):
		whom = "every member on this seat tier"
	}
	switch {
	case n.Late:
		return "The usage belongs to an earlier period and arrived late. Nothing is blocked by this in the current period."
	case n.Threshold >= 100 || n.Limit.Amount.IsZero():
		return "New requests of " + whom + " are blocked until the limit is raised or resets; requests under way are completed."
	default:
		return "Nothing is blocked yet. At 100% of the limit, new requests of " + whom + " are blocked until it is raised or resets."
	}
}

func capital(text string) string {
	if text == "" {
		return ""
	}
	return string(text[0]&^0x20) + text[1:]
}
