package vendorreport

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// dimensions are what a row may be grouped by, of those that matter here; null =
// the report is not grouped by it, or the row has none (BetaAnalyticsUsageGroup).
type dimensions struct {
	Actor            *actor `json:"actor"`
	AccountID        string `json:"account_id"` // of the Console, as the next two
	ServiceAccountID string `json:"service_account_id"`
	APIKeyID         string `json:"api_key_id"`
	Product          string `json:"product"`
	Model            string `json:"model"`
	ServiceTier      string `json:"service_tier"`
	Speed            string `json:"speed"`
	InferenceGeo     string `json:"inference_geo"`
	ContextWindow    string `json:"context_window"`
	CostType         string `json:"cost_type"`
	TokenType        string `json:"token_type"`
	RBACGroupID      string `json:"rbac_group_id"`
}

// actor is who used something (BetaAnalyticsActorUnion): a person, a service
// account, an identity of a cloud platform, or an API key.
type actor struct {
	Type             string `json:"type"`
	UserID           string `json:"user_id"`
	EmailAddress     string `json:"email_address"` // null where the account was deleted
	Email            string `json:"email"`         // what email_address was called before
	ServiceAccountID string `json:"service_account_id"`
	Subject          string `json:"subject"`
	APIKeyID         string `json:"api_key_id"`
}

// counts are a row's usage (BetaAnalyticsUsageMetrics). A report counts no time
// that code ran.
type counts struct {
	UncachedInputTokens *int64 `json:"uncached_input_tokens"`
	CacheCreation       *struct {
		Ephemeral5mInputTokens int64 `json:"ephemeral_5m_input_tokens"`
		Ephemeral1hInputTokens int64 `json:"ephemeral_1h_input_tokens"`
	} `json:"cache_creation"`
	CacheReadInputTokens *int64 `json:"cache_read_input_tokens"`
	OutputTokens         *int64 `json:"output_tokens"`
	ServerToolUse        *struct {
		WebSearchRequests int64 `json:"web_search_requests"`
	} `json:"server_tool_use"`
}

// amounts are a row's cost in fractional cents (BetaAnalyticsCostMetrics). The
// Console has no list_amount.
type amounts struct {
	Amount     *json.Number `json:"amount"` // after discounts
	ListAmount *json.Number `json:"list_amount"`
	Currency   string       `json:"currency"`
}

// tokenTypes are the classes of a cost report's token_type.
var tokenTypes = map[string]billing.Class{
	"uncached_input_tokens":                    billing.Input,
	"output_tokens":                            billing.Output,
	"cache_creation.ephemeral_5m_input_tokens": billing.CacheWrite5m,
	"cache_creation.ephemeral_1h_input_tokens": billing.CacheWrite1h,
	"cache_read_input_tokens":                  billing.CacheRead,
}

// centPlaces is to how many places of a cent, at least, an amount of the API is
// taken to be exact.
const centPlaces = 5

func (r *report) row(in *row, start, end time.Time) error {
	if in.RBACGroupID != "" {
		return errors.New("rbac_group_id: the rows of groups overlap, since a member counts in each of theirs; accepted: a report that is not grouped by it")
	}
	out := billing.ReportedUsage{
		Members: in.members(), Key: in.APIKeyID, Product: productName(in.Product), Model: in.Model,
		ServiceTier: in.ServiceTier, Speed: in.Speed, InferenceGeo: geography(in.InferenceGeo),
		PromptTokensAbove: promptsAbove(in.ContextWindow),
	}
	var err error
	switch {
	case in.UncachedInputTokens != nil || in.OutputTokens != nil:
		err = r.usage(in, &out)
	case in.Amount != nil || in.ListAmount != nil:
		err = r.cost(in, &out)
	default:
		err = errors.New("has neither usage nor cost; " + acceptedPages)
	}
	if err == nil {
		r.add(out, start, end)
	}
	return err
}

func (d *dimensions) members() []string {
	if a := d.Actor; a != nil {
		return named(a.EmailAddress, a.Email, a.UserID, a.ServiceAccountID, a.Subject, a.APIKeyID)
	}
	return named(d.AccountID, d.ServiceAccountID)
}

func (r *report) usage(in *row, out *billing.ReportedUsage) error {
	if err := r.measures(billing.MeasureQuantity); err != nil {
		return err
	}
	r.Classes = quantityClasses()
	var q billing.Quantities
	for _, count := range []struct {
		field string
		class billing.Class
		value *int64
	}{
		{"uncached_input_tokens", billing.Input, in.UncachedInputTokens},
		{"output_tokens", billing.Output, in.OutputTokens},
		{"cache_read_input_tokens", billing.CacheRead, in.CacheReadInputTokens},
	} {
		if count.value == nil {
			return fmt.Errorf("%s is missing; accepted: a whole number from 0 on", count.field)
		}
		q[count.class] = *count.value
	}
	if in.CacheCreation == nil {
		return errors.New("cache_creation is missing; accepted: an object with ephemeral_5m_input_tokens and ephemeral_1h_input_tokens")
	}
	q[billing.CacheWrite5m], q[billing.CacheWrite1h] = in.CacheCreation.Ephemeral5mInputTokens, in.CacheCreation.Ephemeral1hInputTokens
	if in.ServerToolUse == nil {
		return errors.New("server_tool_use is missing; accepted: an object with web_search_requests")
	}
	q[billing.WebSearch] = in.ServerToolUse.WebSearchRequests
	for _, class := range billing.Classes() {
		if q[class] < 0 {
			return fmt.Errorf("%s: %d; accepted: a whole number from 0 on", class, q[class])
		}
		if r.Classes[class] != "" {
			out.Values = append(out.Values, billing.ReportedValue{Class: class.String(), Value: decimal.NewFromInt(q[class])})
		}
	}
	return nil
}

func (r *report) cost(in *row, out *billing.ReportedUsage) error {
	if err := r.inCurrency(in.Currency); err != nil {
		return err
	}
	field, text := "list_amount", in.ListAmount
	if text == nil {
		field, text = "amount", in.Amount
		r.warn("The report has no list_amount: its amounts are after the vendor's discounts, and are compared with list prices.")
	}
	value, rounding, err := amount(text.String(), 2, centPlaces)
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	class := total
	switch known, isToken := tokenTypes[in.TokenType]; {
	case isToken:
		class = known.String()
	case in.TokenType != "":
		class = in.TokenType // shown as it is: nothing here is stored under it
	case in.CostType != "":
		class = in.CostType // tokens, web_search, code_execution, session_usage
	}
	out.Values = []billing.ReportedValue{{Class: class, Value: value, Rounding: rounding}}
	return nil
}
