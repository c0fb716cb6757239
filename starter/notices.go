package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func newNoticesCmd(a *app) *cobra.Command {
	var all bool
	list := &cobra.Command{
		Use:   "list ORG",
		Short: "List the spend notices, oldest first",
		Long: `List the spend notices, oldest first: one per limit version, threshold, month and
subject, ever. Of several thresholds passed at once the highest was sent and the
others are recorded.`,
		Example: "  starter notices list acme --all",
		Args:    arguments("ORG"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runNoticesList(cmd.Context(), a, args[0], all) },
	}
	list.Flags().BoolVar(&all, "all", false, "also those suppressed because a limit was raised past them")
	return newGroup("notices", "Notices of spend that reached a threshold", "", list)
}

// noticeView is a notice as it is printed. Threshold and percent are the same
// number: the percentage of the limit that was reached.
type noticeView struct {
	ID           int64         `json:"id"`
	Organization string        `json:"organization"`
	Scope        billing.Scope `json:"scope"`
	Subject      string        `json:"subject"`        // whose spend
	Tier         string        `json:"tier,omitempty"` // whose limit, where it is a seat tier's
	LimitID      int64         `json:"limit_id"`
	LimitVersion int           `json:"limit_version"`
	Threshold    int           `json:"threshold"`
	Percent      int           `json:"percent"`
	Limit        billing.Money `json:"limit"`
	Spent        billing.Money `json:"spent"`
	Status       string        `json:"status"`
	At           time.Time     `json:"at"`
	PeriodStart  time.Time     `json:"period_start"` // of the billing month whose spend it is
	PeriodEnd    time.Time     `json:"period_end"`
	Late         bool          `json:"late"`
	Failure      string        `json:"failure,omitempty"`

	Deliveries []postgres.Delivery `json:"deliveries"` // the last try at each channel
}

func viewNotice(n postgres.NoticeRow) noticeView {
	return noticeView{
		ID: n.ID, Organization: n.Organization, Scope: n.Scope, Subject: n.Subject, Tier: n.Tier,
		LimitID: n.LimitID, LimitVersion: n.LimitVersion, Threshold: n.Threshold, Percent: n.Threshold,
		Limit: n.Limit, Spent: n.Spent, Status: n.Status, At: n.At.UTC(),
		PeriodStart: n.Window.Start.UTC(), PeriodEnd: n.Window.End.UTC(), Late: n.Late, Failure: n.Failure,
		Deliveries: append([]postgres.Delivery{}, n.Deliveries...),
	}
}

// whose names the limit for people.
func (v noticeView) whose() string {
	switch {
	case v.Scope == billing.ScopeOrganization:
		return "organization"
	case v.Scope == billing.ScopeUser:
		return "user " + v.Subject
	case v.Tier != "" && v.Tier != v.Subject:
		return "seat tier " + v.Tier + ": " + v.Subject
	default:
		return "seat tier: " + v.Subject
	}
}

func runNoticesList(ctx context.Context, a *app, org string, all bool) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	views, err := listNotices(ctx, store, org, all)
	if err != nil {
		return err
	}
	return printNotices(a, views)
}

func printNotices(a *app, views []noticeView) error {
	return printList(a, views, "There are no notices.",
		left("AT", func(v noticeView) string { return showTime(v.At) }),
		left("LIMIT OF", noticeView.whose),
		right("REACHED", func(v noticeView) string { return fmt.Sprintf("%d %%", v.Threshold) }),
		right("LIMIT", func(v noticeView) string { return v.Limit.String() }),
		right("SPENT", func(v noticeView) string { return showCents(v.Spent) }),
		left("STATUS", func(v noticeView) string { return v.Status }),
		left("FAILURE", func(v noticeView) string { return v.Failure }))
}

// listNotices lists an organisation's notices as they are printed.
func listNotices(ctx context.Context, store *postgres.Store, organization string, all bool) ([]noticeView, error) {
	notices, err := store.Notices(ctx, organization, all)
	if err != nil {
		return nil, err
	}
	views := make([]noticeView, len(notices))
	for i, n := range notices {
		views[i] = viewNotice(n)
	}
	return views, nil
}
