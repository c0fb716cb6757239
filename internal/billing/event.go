package billing

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// Values that a usage event may carry in its service tier, speed and geography.
const (
	Standard  = "standard" // service tier and speed
	Batch     = "batch"    // service tier
	Fast      = "fast"     // speed
	GeoGlobal = "global"   // inference geography
	GeoUS     = "us"       // inference geography
)

// Event is one request's use, normalised: times in UTC at microseconds, absent
// counts 0, absent service tier and speed "standard", absent geography "global".
type Event struct {
	ID           string // unique within the organisation
	Organization string
	User         string // "" = a service: billed to the organisation, under its limit only
	OccurredAt   time.Time
	Product      string
	Model        string // as the sender wrote it
	Quantities   Quantities
	ServiceTier  string
	Speed        string
	InferenceGeo string
	Labels       map[string]string

	// Samplings are the parts of a request that sampled more than once: each is
	// priced by itself, by its own model and in its own prompt band, and the event
	// is priced as a whole or not at all. Sampling is then what the request's own
	// counts say.
	Samplings []Sampling
	// CacheSplitAssumed: cache writes came without a whole split, and the rest
	// counts as 5-minute writes.
	CacheSplitAssumed bool

	// Retracts names the event that this one cancels. A retraction has nothing
	// else but its id, organisation and time.
	Retracts string

	// StatedCost is what the source says that the request cost, in USD; not valid =
	// it does not say. It never decides what is billed but for SplitWrites.
	StatedCost decimal.NullDecimal

	// Unpriceable says why no price book can price the event, as a sentence about
	// its usage: a count of tokens that this version does not know, or counts that
	// contradict each other. Such an event is parked. "" is none.
	Unpriceable string
	// Content is what an unpriceable event says, in a canonical form, so that its
	// repetition is recognised whatever its spelling.
	Content []byte

	// Remark says what was changed to take the event, such as a label that was
	// masked; "" is nothing.
	Remark string
	// Payload is what is kept of the event while it is parked, where that is not
	// what was received; nil otherwise.
	Payload []byte
}

// Sampling is one run of a model.
type Sampling struct {
	Model             string // as the sender wrote it
	Quantities        Quantities
	CacheSplitAssumed bool // as of an event
}

// Parts returns the samplings that are priced, each as an event of its own under
// the same id; the event itself where there is one.
func (e *Event) Parts() []Event {
	if len(e.Samplings) == 0 {
		return []Event{*e}
	}
	parts := make([]Event, len(e.Samplings))
	for i, sampling := range e.Samplings {
		parts[i] = *e
		parts[i].Model, parts[i].Quantities, parts[i].CacheSplitAssumed = sampling.Model, sampling.Quantities, sampling.CacheSplitAssumed
		parts[i].Samplings, parts[i].StatedCost = nil, decimal.NullDecimal{} // which is of all of them
	}
	return parts
}

// CostsNothing reports whether the event costs nothing at any price: it counts
// nothing, and nothing in it is unknown.
func (e *Event) CostsNothing() bool {
	return e.Quantities == Quantities{} && len(e.Samplings) == 0 && e.Unpriceable == ""
}

// Fingerprint identifies the event's content after normalising: two events
// under one id are duplicates if their fingerprints agree, else in conflict.
func (e *Event) Fingerprint() [16]byte {
	var buf [512]byte
	b := buf[:0]
	for _, s := range []string{e.User, e.Product, e.Model, e.ServiceTier, e.Speed, e.InferenceGeo, e.Unpriceable} {
		b = appendString(b, s)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(e.OccurredAt.UnixMicro()))
	b = appendQuantities(b, &e.Quantities)
	if e.Unpriceable != "" { // what it counted stands there alone
		b = appendString(b, string(e.Content))
	}
	if len(e.Samplings) > 0 {
		b = append(b, "samplings"...)
		for i := range e.Samplings {
			b = appendQuantities(appendString(b, e.Samplings[i].Model), &e.Samplings[i].Quantities)
		}
	}
	if len(e.Labels) > 0 {
		names := make([]string, 0, len(e.Labels))
		for name := range e.Labels {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			b = appendString(appendString(b, name), e.Labels[name])
		}
	}
	if e.Retracts != "" {
		b = appendString(append(b, "retracts"...), e.Retracts)
	}
	if e.StatedCost.Valid {
		b = appendString(append(b, "cost"...), e.StatedCost.Decimal.String())
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

func appendQuantities(b []byte, quantities *Quantities) []byte {
	for _, q := range quantities {
		b = binary.BigEndian.AppendUint64(b, uint64(q))
	}
	return b
}

// appendString appends s behind its length, so that no two lists of strings
// run together into the same bytes.
func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
