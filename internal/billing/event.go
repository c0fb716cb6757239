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
	Model        string
	Quantities   Quantities
	ServiceTier  string
	Speed        string
	InferenceGeo string
	Labels       map[string]string

	// Retracts names the event that this one cancels. A retraction has nothing
	// else but its id, organisation and time.
	Retracts string

	// CacheSplitAssumed: cache writes came without their split and were counted
	// as 5-minute writes.
	CacheSplitAssumed bool
	// StatedCost is what the source says that the request cost, in USD; not valid =
	// it does not say. It never decides what is billed but for SplitWrites.
	StatedCost decimal.NullDecimal
	// UnknownCount names a non-zero token count that this version cannot price;
	// such an event is parked.
	UnknownCount string
	// Payload is the event as it was received.
	Payload []byte
}

// Fingerprint identifies the event's content after normalising: two events
// under one id are duplicates if their fingerprints agree, else in conflict.
func (e *Event) Fingerprint() [16]byte {
	var buf [512]byte
	b := buf[:0]
	for _, s := range []string{e.User, e.Product, e.Model, e.ServiceTier, e.Speed, e.InferenceGeo, e.UnknownCount} {
		b = appendString(b, s)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(e.OccurredAt.UnixMicro()))
	for _, q := range e.Quantities {
		b = binary.BigEndian.AppendUint64(b, uint64(q))
	}
	if e.UnknownCount != "" { // what it counted is known only to the payload
		b = appendString(b, string(e.Payload))
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

// appendString appends s behind its length, so that no two lists of strings
// run together into the same bytes.
func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
