package stripe

import (
	"context"
	"strings"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Reversals lists what was refunded or disputed of the payments, as it stands now.
func (g *Gateway) Reversals(ctx context.Context, intents []string) (found billing.Reversals, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	for _, intent := range intents {
		if intent == "" { // Stripe would list those of everybody
			continue
		}
		refunds := g.api.Refunds.List(&sdk.RefundListParams{ListParams: listParams(ctx), PaymentIntent: sdk.String(intent)})
		for refunds.Next() {
			found.Refunds = append(found.Refunds, refundOf(intent, refunds.Refund()))
		}
		if err := refunds.Err(); err != nil {
			return found, failure(err, "list the refunds of %s", intent)
		}
		disputes := g.api.Disputes.List(&sdk.DisputeListParams{ListParams: listParams(ctx), PaymentIntent: sdk.String(intent)})
		for disputes.Next() {
			found.Disputes = append(found.Disputes, disputeOf(intent, disputes.Dispute()))
		}
		if err := disputes.Err(); err != nil {
			return found, failure(err, "list the disputes of %s", intent)
		}
	}
	return found, nil
}

func refundOf(intent string, r *sdk.Refund) billing.Refund {
	reason := string(r.Reason)
	if r.FailureReason != "" {
		reason = string(r.FailureReason)
	}
	return billing.Refund{
		ID: r.ID, Status: string(r.Status), Amount: minor(r.Amount, r.Currency), Reason: reason,
		PaymentIntentID: intent, MadeAt: instant(r.Created),
	}
}

func disputeOf(intent string, d *sdk.Dispute) billing.Dispute {
	dispute := billing.Dispute{
		ID: d.ID, Status: string(d.Status), Amount: minor(d.Amount, d.Currency), Reason: string(d.Reason),
		PaymentIntentID: intent, MadeAt: instant(d.Created),
	}
	if d.EvidenceDetails != nil && d.EvidenceDetails.DueBy > 0 {
		by := instant(d.EvidenceDetails.DueBy)
		dispute.RespondBy = &by
	}
	return dispute
}

func minor(amount int64, currency sdk.Currency) billing.Money {
	return billing.FromMinor(amount, billing.Currency(strings.ToUpper(string(currency))))
}
