package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// whole is an event with something in every field.
func whole() billing.Event {
	return billing.Event{
		ID: "evt_01", Organization: "acme", User: "ana", OccurredAt: instant("2026-04-01T00:00:40.523394Z"), Product: "chat", Model: "m",
		Quantities: billing.Quantities{1, 2, 3, 4, 5, 6}, ServiceTier: billing.Standard, Speed: billing.Standard, InferenceGeo: billing.GeoGlobal,
		Labels: map[string]string{"team": "a", "cost_center": "b"}, Payload: []byte(`{"a":1}`),
	}
}

func TestAnyOtherContentGivesAnotherFingerprint(t *testing.T) {
	t.Parallel()
	original := whole()
	seen := map[[16]byte]string{original.Fingerprint(): "the original"}
	for name, change := range map[string]func(*billing.Event){
		"another user":         func(e *billing.Event) { e.User = "ben" },
		"no user":              func(e *billing.Event) { e.User = "" },
		"another product":      func(e *billing.Event) { e.Product = "claude_code" },
		"another model":        func(e *billing.Event) { e.Model = "n" },
		"another service tier": func(e *billing.Event) { e.ServiceTier = billing.Batch },
		"another speed":        func(e *billing.Event) { e.Speed = billing.Fast },
		"another geography":    func(e *billing.Event) { e.InferenceGeo = billing.GeoUS },
		"a microsecond later":  func(e *billing.Event) { e.OccurredAt = e.OccurredAt.Add(time.Microsecond) },
		"no price knows it":    func(e *billing.Event) { e.Unpriceable = "usage.audio_tokens is a token count without a price" },
		"sampled twice":        func(e *billing.Event) { e.Samplings = []billing.Sampling{{Model: "m"}, {Model: "m"}} },
		"sampled by another":   func(e *billing.Event) { e.Samplings = []billing.Sampling{{Model: "m"}, {Model: "n"}} },
		"sampled more": func(e *billing.Event) {
			e.Samplings = []billing.Sampling{{Model: "m"}, {Model: "n", Quantities: billing.Quantities{1}}}
		},
		"fewer labels":            func(e *billing.Event) { e.Labels = map[string]string{"team": "a"} },
		"another label":           func(e *billing.Event) { e.Labels = map[string]string{"team": "b", "cost_center": "b"} },
		"a label run together":    func(e *billing.Event) { e.Labels = map[string]string{"teama": "", "cost_center": "b"} },
		"a retraction":            func(e *billing.Event) { e.Retracts = "evt_02" },
		"another retraction":      func(e *billing.Event) { e.Retracts = "evt_03" },
		"no labels":               func(e *billing.Event) { e.Labels = nil },
		"texts moved by a letter": func(e *billing.Event) { e.User, e.Product = "anac", "hat" },
	} {
		changed := whole()
		change(&changed)
		require.Empty(t, seen[changed.Fingerprint()], name)
		seen[changed.Fingerprint()] = name
	}
	for c := range original.Quantities {
		changed := whole()
		changed.Quantities[c]++
		require.Empty(t, seen[changed.Fingerprint()])
		seen[changed.Fingerprint()] = billing.Class(c).String()
	}
}

func TestWhatIsNoContentChangesNoFingerprint(t *testing.T) {
	t.Parallel()
	original := whole()
	for name, change := range map[string]func(*billing.Event){
		"the same instant in another zone": func(e *billing.Event) { e.OccurredAt = e.OccurredAt.In(time.FixedZone("", 3600)) },
		"what is kept of it while parked":  func(e *billing.Event) { e.Payload = []byte(`{ "a": 1 }`) },
		"a remark":                         func(e *billing.Event) { e.Remark = "a label was masked" },
		"an assumed cache split":           func(e *billing.Event) { e.CacheSplitAssumed = true },
		"an empty map of labels, sorted":   func(e *billing.Event) { e.Labels = map[string]string{"cost_center": "b", "team": "a"} },
	} {
		changed := whole()
		change(&changed)
		require.Equal(t, original.Fingerprint(), changed.Fingerprint(), name)
	}
}

func TestAnUnpriceableEventIsToldApartByItsContent(t *testing.T) {
	t.Parallel()
	a, b := whole(), whole()
	a.Unpriceable, b.Unpriceable = "unknown", "unknown"
	require.Equal(t, a.Fingerprint(), b.Fingerprint())
	b.Content = []byte(`{"a":2}`)
	require.NotEqual(t, a.Fingerprint(), b.Fingerprint())
}

func TestAnEventIsPricedSamplingBySampling(t *testing.T) {
	t.Parallel()
	event := whole()
	require.Equal(t, []billing.Event{event}, event.Parts(), "one sampling is the event itself")

	event.Samplings = []billing.Sampling{
		{Model: "m", Quantities: billing.Quantities{billing.Input: 5}},
		{Model: "n", Quantities: billing.Quantities{billing.CacheWrite5m: 7}, CacheSplitAssumed: true},
	}
	parts := event.Parts()
	require.Len(t, parts, 2)
	for i, part := range parts {
		require.Equal(t, event.ID, part.ID)
		require.Equal(t, billing.Sampling{Model: part.Model, Quantities: part.Quantities, CacheSplitAssumed: part.CacheSplitAssumed}, event.Samplings[i])
		require.Empty(t, part.Samplings)
	}
}

func TestOnlyWhatCountsNothingCostsNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		event billing.Event
		want  bool
	}{
		"nothing counted":       {billing.Event{Model: "<synthetic>", ServiceTier: "flex"}, true},
		"a token":               {billing.Event{Quantities: billing.Quantities{1}}, false},
		"a search":              {billing.Event{Quantities: billing.Quantities{billing.WebSearch: 1}}, false},
		"an unknown count":      {billing.Event{Unpriceable: "usage.audio_tokens is a token count without a price"}, false},
		"a sampling of its own": {billing.Event{Samplings: []billing.Sampling{{Quantities: billing.Quantities{1}}}}, false},
	} {
		require.Equal(t, c.want, c.event.CostsNothing(), name)
	}
}

func TestAPromptIsItsUncachedWrittenAndReadTokens(t *testing.T) {
	property(t, func(t *rapid.T) {
		var q billing.Quantities
		for c := range q {
			q[c] = rapid.Int64Range(0, billing.MaxCount).Draw(t, "count")
		}
		require.Equal(t, q[billing.Input]+q[billing.CacheWrite5m]+q[billing.CacheWrite1h]+q[billing.CacheRead], q.PromptTokens())

		other := billing.Quantities{1, 2, 3, 4, 5, 6}
		added := q
		added.Add(&other)
		totals := added.Totals()
		for c := range q {
			require.Equal(t, q[c]+other[c], added[c])
			require.Equal(t, added[c], totals[c].IntPart())
		}
	})
}

func TestClassesHaveNamesThatReadBack(t *testing.T) {
	t.Parallel()
	require.Len(t, billing.Classes(), billing.NumClasses)
	for i, class := range billing.Classes() {
		require.Equal(t, billing.Class(i), class, "invoice order")
		text, err := class.MarshalText()
		require.NoError(t, err)
		var read billing.Class
		require.NoError(t, read.UnmarshalText(text))
		require.Equal(t, class, read)
		require.Equal(t, class != billing.WebSearch && class != billing.CodeExecution, class.IsToken())
	}
	var class billing.Class
	require.EqualError(t, class.UnmarshalText([]byte("audio")), `unknown token class "audio"`)
}

func TestSlugsAreLowerCaseNamesWithoutSpaces(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"acme", "a", "0", "acme-2026_01.b", "a23456789012345678901234567890123456789012345678901234567890123"} {
		require.True(t, billing.ValidSlug(name), name)
	}
	for _, name := range []string{"", "Acme", "a b", "-a", ".a", "a/b", "ä", "a\n", "a234567890123456789012345678901234567890123456789012345678901234"} {
		require.False(t, billing.ValidSlug(name), name)
	}
}

func TestErrorsKeepTheirKindAndTheirText(t *testing.T) {
	t.Parallel()
	for kind, err := range map[error]error{
		billing.ErrNotFound: billing.NotFound("organisation %s", "acme"),
		billing.ErrConflict: billing.Conflict("organisation %s", "acme"),
		billing.ErrInvalid:  billing.Invalid("organisation %s", "acme"),
	} {
		require.ErrorIs(t, err, kind)
		require.EqualError(t, err, "organisation acme")
	}
}
