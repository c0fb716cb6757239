package otlp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
)

// Request is one request to the model's API, as a record reports it.
type Request struct {
	ID           string
	Organization string // the resource's arrears.organization; "" = not said
	User         string // the resource's arrears.user; "" = not said
	Account      string // whom the sender was signed in as: user.email, else user.account_uuid; "" = not said
	OccurredAt   time.Time
	Product      string
	Model        string
	Speed        string              // "" = standard
	SessionID    string              // "" = not said
	StatedCost   decimal.NullDecimal // by the sender's own prices, in USD

	Problem *Problem // why it cannot be taken; nil = it can

	input, output, cacheRead, cacheWrites *int64
	write5m, write1h                      *int64 // nil = the record does not say how the writes divide
}

// Problem is what is wrong with a record.
type Problem struct {
	Field  string // the attribute; "" where the whole record is meant
	Reason string
}

const defaultProduct = "claude_code"

func requestOf(record *logs.LogRecord, own, resource attributes) (r Request) {
	r.Organization, r.User = resource.text("arrears.organization"), resource.text("arrears.user")
	r.Account = own.first("user.email", "user.account_uuid")
	if r.Account == "" {
		r.Account = resource.first("user.email", "user.account_uuid")
	}
	if r.Product = resource.text("arrears.product"); r.Product == "" {
		r.Product = defaultProduct
	}
	r.Model, r.SessionID, r.StatedCost = own.text("model"), own.text("session.id"), own.cost("cost_usd")
	if r.Speed = own.text("speed"); r.Speed == "normal" { // what Claude Code calls standard
		r.Speed = ""
	}
	if r.OccurredAt, r.Problem = occurredAt(record, own); r.Problem != nil {
		return r
	}
	r.ID = idOf(own, r.OccurredAt)
	for name, count := range map[string]**int64{
		"input_tokens": &r.input, "output_tokens": &r.output, "cache_read_tokens": &r.cacheRead,
		"cache_creation_tokens": &r.cacheWrites, "cache_creation_5m_tokens": &r.write5m, "cache_creation_1h_tokens": &r.write1h,
	} {
		var wrong *Problem
		if *count, wrong = own.count(name); wrong != nil && (r.Problem == nil || wrong.Field < r.Problem.Field) {
			r.Problem = wrong
		}
	}
	if value(r.write5m) == 0 && value(r.write1h) == 0 { // as where the API did not say
		r.write5m, r.write1h = nil, nil
	}
	return r
}

func value(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// occurredAt is when the request happened: what the event says, else the record.
func occurredAt(record *logs.LogRecord, own attributes) (time.Time, *Problem) {
	if text := own.text("event.timestamp"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return at, &Problem{"event.timestamp", fmt.Sprintf("is %.40q; accepted: a time like \"2026-10-01T00:00:40.5Z\"", text)}
		}
		return at.UTC(), nil
	}
	for _, nanoseconds := range []uint64{record.GetTimeUnixNano(), record.GetObservedTimeUnixNano()} {
		if nanoseconds > 0 {
			return time.Unix(0, int64(nanoseconds)).UTC(), nil
		}
	}
	return time.Time{}, &Problem{"event.timestamp", "is required where the record has no time; it is missing"}
}

// idOf makes the id under which a request counts once, however often it is
// exported. Two requests must not have one, and a request that is exported again
// must have the same: so it is made of the event's attributes alone.
func idOf(own attributes, at time.Time) string {
	if id := own.text("request_id"); id != "" {
		return id
	}
	when := at.Format(time.RFC3339Nano)
	session, sequence := own.text("session.id"), own.text("event.sequence")
	if session != "" && sequence != "" {
		return session + "/" + sequence + "/" + when
	}
	identity := []string{when}
	for _, name := range []string{
		"session.id", "user.id", "user.email", "user.account_uuid", "prompt.id", "event.sequence", "model", "input_tokens", "output_tokens",
		"cache_read_tokens", "cache_creation_tokens", "cost_usd", "duration_ms",
	} {
		identity = append(identity, own.text(name))
	}
	sum := sha256.Sum256([]byte(strings.Join(identity, "\x00")))
	return "record_" + hex.EncodeToString(sum[:])
}

// event is a usage event in its wire format.
type event struct {
	ID           string            `json:"id"`
	Organization string            `json:"organization"`
	User         string            `json:"user,omitempty"`
	OccurredAt   time.Time         `json:"occurred_at"`
	Product      string            `json:"product"`
	Model        string            `json:"model,omitempty"`
	Usage        counts            `json:"usage"`
	Speed        string            `json:"speed,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
}

type counts struct {
	Input         *int64         `json:"input_tokens,omitempty"`
	Output        *int64         `json:"output_tokens,omitempty"`
	CacheRead     *int64         `json:"cache_read_input_tokens,omitempty"`
	CacheWrites   *int64         `json:"cache_creation_input_tokens,omitempty"`
	CacheCreation *cacheCreation `json:"cache_creation,omitempty"`
}

type cacheCreation struct {
	Write5m int64 `json:"ephemeral_5m_input_tokens"`
	Write1h int64 `json:"ephemeral_1h_input_tokens"`
}

// Event returns the request as a usage event in JSON, of an organisation and a
// user ("" = a service). What the record does not say is not in it either.
func (r *Request) Event(organization, user string) []byte {
	e := event{
		ID: r.ID, Organization: organization, User: user, OccurredAt: r.OccurredAt, Product: r.Product, Model: r.Model, Speed: r.Speed,
		Usage: counts{Input: r.input, Output: r.output, CacheRead: r.cacheRead, CacheWrites: r.cacheWrites},
	}
	if r.write5m != nil || r.write1h != nil {
		e.Usage.CacheCreation = &cacheCreation{value(r.write5m), value(r.write1h)}
	}
	if r.SessionID != "" {
		e.Labels = map[string]string{"session_id": r.SessionID}
	}
	text, err := json.Marshal(e)
	if err != nil { // a year beyond 9999, which nothing can mean
		return nil
	}
	return text
}
