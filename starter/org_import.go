package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func newOrgImportCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE|-",
		Short: "Take many organisations under contract: all, or none",
		Long: `Take many organisations under contract: all of them, or none and an error that
names each line and field at fault.

The file has one JSON object a line, with the fields of "starter org create":
id (required), plan, currency, timezone, anchor_day, prices, start and test_clock (a
time, or a date for its first instant in the timezone), collection, net_days,
payment_method, draft_window, late_window, limit_rule, discount (percent), email,
dunning (days after the first attempt), reminders (days after the due date),
suspend_after (days past due), card_ceiling (an amount as text, or "none"),
usage_sources ({"claude_code":"otlp"}), approval (true), and bound_growth, bound_floor,
bound_total, bound_credit ("10", or "none"). What is absent has the default of
"starter org create". Blank lines are skipped.`,
		Example: `  echo '{"id":"initech","timezone":"Europe/Berlin","anchor_day":15,"email":"billing@initech.example"}' |
    starter org import -`,
		Args: arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return runOrgImport(cmd.Context(), a, args[0]) },
	}
}

// contractLine is one line of the file.
type contractLine struct {
	ID            string                         `json:"id"`
	Plan          string                         `json:"plan"`
	Currency      string                         `json:"currency"`
	Timezone      string                         `json:"timezone"`
	AnchorDay     *int                           `json:"anchor_day"`
	Prices        string                         `json:"prices"`
	Start         *string                        `json:"start"`
	TestClock     *string                        `json:"test_clock"`
	Collection    string                         `json:"collection"`
	NetDays       *int                           `json:"net_days"`
	PaymentMethod string                         `json:"payment_method"`
	DraftWindow   *string                        `json:"draft_window"`
	LateWindow    *string                        `json:"late_window"`
	LimitRule     string                         `json:"limit_rule"`
	Email         string                         `json:"email"`
	Dunning       []int                          `json:"dunning"`
	Reminders     []int                          `json:"reminders"`
	SuspendAfter  *int                           `json:"suspend_after"`
	CardCeiling   string                         `json:"card_ceiling"`
	UsageSources  map[string]billing.UsageSource `json:"usage_sources"`
	Approval      bool                           `json:"approval"`
	BoundGrowth   *string                        `json:"bound_growth"`
	BoundFloor    *string                        `json:"bound_floor"`
	BoundTotal    *string                        `json:"bound_total"`
	BoundCredit   *string                        `json:"bound_credit"`

	Discount json.RawMessage `json:"discount"` // a number, or text with one
}

type importedOrganizations struct {
	Created   int `json:"created"`
	Unchanged int `json:"unchanged"`
}

func runOrgImport(ctx context.Context, a *app, path string) error {
	data, err := a.readAll(path)
	if err != nil {
		return err
	}
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	books, err := store.PriceBooks(ctx)
	if err != nil {
		return err
	}
	orgs, err := readContracts(data, books)
	if err != nil {
		return fmt.Errorf("%s: nothing was imported\n%w", path, err)
	}
	created, err := store.CreateOrganizations(ctx, orgs, a.by())
	if err != nil {
		return fmt.Errorf("%s: nothing was imported\n%w", path, err)
	}
	for _, org := range orgs {
		a.ensureCustomer(ctx, org.ID)
	}
	result := importedOrganizations{created, len(orgs) - created}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "Created %s; %s existed with these terms already.\n",
			plural(result.Created, "organization"), showCount(result.Unchanged))
	})
}

// readContracts reads the file, or says what is wrong with each line of it.
func readContracts(data []byte, books []postgres.PriceBookSummary) ([]billing.Organization, error) {
	var orgs []billing.Organization
	var wrong problems
	lines := map[string]int{}
	for i, text := range bytes.Split(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), []byte("\n")) {
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		org, err := readContract(text, books)
		switch first, twice := lines[org.ID]; {
		case err != nil:
			wrong.add(i+1, err)
		case twice:
			wrong.add(i+1, fmt.Errorf("id: %q is that of line %d already", org.ID, first))
		}
		lines[org.ID] = i + 1
		orgs = append(orgs, org)
	}
	if len(orgs) == 0 {
		wrong.add(1, errors.New("there is no organization; accepted: one JSON object a line"))
	}
	return orgs, wrong.err()
}

func readContract(text []byte, books []postgres.PriceBookSummary) (billing.Organization, error) {
	var line contractLine
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&line); err != nil {
		return billing.Organization{}, jsonProblem(err)
	}
	if decoder.More() {
		return billing.Organization{}, errors.New("has more behind the JSON object; accepted: one object a line")
	}
	org, err := line.contract()
	if err != nil {
		return org, err
	}
	if err := checkContract(org); err != nil {
		return org, err
	}
	known := slices.ContainsFunc(books, func(b postgres.PriceBookSummary) bool { return b.Name == org.PriceBook })
	if org.PriceBook != "" && !known {
		return org, fmt.Errorf("prices: there is no price book %q; see starter prices list", org.PriceBook)
	}
	return org, nil
}

func (l contractLine) contract() (org billing.Organization, err error) {
	org = billing.Organization{
		ID: l.ID, Plan: l.Plan, Currency: billing.Currency(l.Currency), Timezone: l.Timezone, PriceBook: l.Prices,
		Collection: l.Collection, PaymentMethod: l.PaymentMethod, Email: l.Email, Dunning: l.Dunning,
		LimitRule: l.LimitRule, Approval: l.Approval, Reminders: l.Reminders, SuspendAfter: l.SuspendAfter,
		UsageSources: l.UsageSources,
		AnchorDay:    1, NetDays: billing.DefaultNetDays,
		DraftWindow: billing.DefaultDraftWindow, LateWindow: billing.DefaultLateWindow,
	}
	if l.CardCeiling != "" {
		var given ceiling
		if err := given.Set(l.CardCeiling); err != nil {
			return org, fmt.Errorf("card_ceiling: %q; %w", l.CardCeiling, err)
		}
		org.CardCeiling, org.CardExempt = given.Decimal, !given.Valid
	}
	if l.AnchorDay != nil {
		org.AnchorDay = *l.AnchorDay
	}
	if l.NetDays != nil {
		org.NetDays = *l.NetDays
	}
	if len(l.Discount) > 0 {
		var percent percentage
		if err := percent.Set(strings.Trim(string(l.Discount), `"`)); err != nil {
			return org, fmt.Errorf("discount: %s; %w", l.Discount, err)
		}
		org.Discount = percent.Decimal
	}
	if err := l.startContract(&org); err != nil {
		return org, err
	}
	for _, window := range []struct {
		field string
		given *string
		set   *time.Duration
	}{{"draft_window", l.DraftWindow, &org.DraftWindow}, {"late_window", l.LateWindow, &org.LateWindow}} {
		if window.given == nil {
			continue
		}
		if *window.set, err = time.ParseDuration(*window.given); err != nil {
			return org, fmt.Errorf("%s: %q; accepted: a duration like 24h", window.field, *window.given)
		}
	}
	for _, given := range []struct {
		field string
		text  *string
		set   *decimal.NullDecimal
	}{
		{"bound_growth", l.BoundGrowth, &org.Bounds.Growth},
		{"bound_floor", l.BoundFloor, &org.Bounds.Floor},
		{"bound_total", l.BoundTotal, &org.Bounds.Total},
		{"bound_credit", l.BoundCredit, &org.Bounds.Credit},
	} {
		var b bound
		if given.text == nil {
			continue
		}
		if err := b.Set(*given.text); err != nil {
			return org, fmt.Errorf("%s: %q; %w", given.field, *given.text, err)
		}
		*given.set = b.NullDecimal
	}
	return org, nil
}

// startContract sets when the line's contract starts, and where its test clock
// stands.
func (l contractLine) startContract(org *billing.Organization) error {
	var start, testClock moment
	for _, given := range []struct {
		field string
		text  *string
		set   *moment
	}{{"start", l.Start, &start}, {"test_clock", l.TestClock, &testClock}} {
		if given.text == nil || *given.text == "" {
			continue
		}
		if err := given.set.Set(*given.text); err != nil {
			return fmt.Errorf("%s: %q; %w", given.field, *given.text, err)
		}
	}
	return startContract(org, start, testClock)
}

// jsonProblem names the field of a JSON object that could not be read.
func jsonProblem(err error) error {
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind) && kind.Field == "":
		return fmt.Errorf("is a JSON %s; accepted: one JSON object", kind.Value)
	case errors.As(err, &kind):
		return fmt.Errorf("%s: is a %s; accepted: %s", kind.Field, kind.Value, jsonKind(kind.Type.String()))
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		return fmt.Errorf("%s is not a field; see starter org import --help for those accepted", strings.TrimPrefix(err.Error(), "json: unknown field "))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("ends inside the JSON object")
	default:
		return fmt.Errorf("is not a JSON object: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
}

func jsonKind(goType string) string {
	switch strings.TrimPrefix(goType, "*") {
	case "int":
		return "a whole number"
	case "[]int":
		return "a list of whole numbers"
	case "map[string]billing.UsageSource":
		return `an object like {"claude_code":"otlp"}`
	default:
		return "text"
	}
}
