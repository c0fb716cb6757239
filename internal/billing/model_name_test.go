package billing_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// namesBook prices models whose names are close to each other.
func namesBook() *billing.PriceBook {
	book := &billing.PriceBook{Name: "names", Currency: "USD"}
	for _, model := range []string{"claude-sonnet-4-5", "claude-sonnet-4", "claude-haiku-3-5", "twin-2", "vendor/twin.2", "meta-1"} {
		book.Models = append(book.Models, billing.ModelPrice{
			Model: model, Speed: billing.Standard, EffectiveFrom: date("2025-01-01"), PerMillion: prices("1", "1", "1", "1", "1"),
		})
	}
	book.Aliases = []billing.ModelAlias{{Alias: "claude-3-5-haiku", Model: "claude-haiku-3-5"}, {Alias: "claude-sonnet-4-0", Model: "claude-sonnet-4"}}
	return book
}

func TestAModelIsFoundUnderTheNamesThatPlatformsGiveIt(t *testing.T) {
	t.Parallel()
	book := namesBook()
	require.NoError(t, book.Validate())
	rater := billing.NewRater(book, book.Rates())
	for name, model := range map[string]string{
		"claude-sonnet-4-5":                                           "claude-sonnet-4-5",
		"Claude-Sonnet-4-5":                                           "claude-sonnet-4-5",
		"claude-sonnet-4.5":                                           "claude-sonnet-4-5",
		"claude-sonnet-4-5-20250929":                                  "claude-sonnet-4-5",
		"claude-sonnet-4-5@20250929":                                  "claude-sonnet-4-5",
		"claude-sonnet-4-5@default":                                   "claude-sonnet-4-5",
		"claude-sonnet-4-5-latest":                                    "claude-sonnet-4-5",
		"claude-sonnet-4-5[1m]":                                       "claude-sonnet-4-5",
		"anthropic/claude-sonnet-4.5":                                 "claude-sonnet-4-5",
		"anthropic.claude-sonnet-4-5-20250929-v1:0":                   "claude-sonnet-4-5",
		"anthropic.claude-sonnet-4-5-20250929-v1:0:200k":              "claude-sonnet-4-5",
		"us.anthropic.claude-sonnet-4-5-20250929-v1:0":                "claude-sonnet-4-5",
		"us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0":            "claude-sonnet-4-5",
		"anthropic.claude-sonnet-4-5-v1":                              "claude-sonnet-4-5",
		"bedrock/us-east-1/anthropic.claude-sonnet-4-5-20250929-v1:0": "claude-sonnet-4-5",
		"arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0": "claude-sonnet-4-5",
		"arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0":                 "claude-sonnet-4-5",
		"projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929":                  "claude-sonnet-4-5",
		"claude-sonnet-4-20250514":                    "claude-sonnet-4",
		"claude-sonnet-4-0":                           "claude-sonnet-4",
		"claude-3-5-haiku-20241022":                   "claude-haiku-3-5",
		"claude-3-5-haiku-latest":                     "claude-haiku-3-5",
		"us.anthropic.claude-3-5-haiku-20241022-v1:0": "claude-haiku-3-5",
		"twin-2":        "twin-2",
		"vendor/twin.2": "vendor/twin.2",

		"":                           "",
		"claude":                     "",
		"claude-sonnet-4-5-1":        "",
		"claude-sonnet-4-6":          "",
		"claude-sonnet-4-5-v1:x":     "",
		"claude-sonnet-4-5-19991231": "",
		"claude-sonnet":              "",
		"anthropic.claude-v2:1":      "",
		"arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/claude-sonnet-4-5": "",
		"other/twin-2": "", // either of two: it is not guessed which
		"Twin-2":       "",
		".":            "", "/": "", "-v1": "", "[1m]": "", "@": "", "-20250929": "",
	} {
		require.Equal(t, model, rater.Model(name), "%q", name)
		require.Equal(t, model, rater.Model(name), "%q again", name)
	}
}

func TestANameThatCouldBeTwoModelsIsParkedAndSaysSo(t *testing.T) {
	t.Parallel()
	book := namesBook()
	rate, reason := billing.NewRater(book, book.Rates()).Rate(&billing.Event{Model: "other/twin-2", OccurredAt: date("2026-01-01")})
	require.Nil(t, rate)
	require.Equal(t, "model other/twin-2 could be several models of price book names: give one of them this name as an alias", reason)
}

func TestManyMadeUpNamesAreNotRemembered(t *testing.T) {
	t.Parallel()
	rater := billing.NewRater(namesBook(), nil)
	for n := range 20_000 {
		require.Equal(t, "claude-sonnet-4", rater.Model(fmt.Sprintf("made-up-%d/claude-sonnet-4", n)))
	}
}

func TestWhatANameMeansNeverChanges(t *testing.T) {
	t.Parallel()
	row := func(model string) billing.ModelPrice {
		return billing.ModelPrice{Model: model, Speed: billing.Standard, EffectiveFrom: date("2027-01-01"), PerMillion: prices("2", "2", "2", "2", "2")}
	}
	for name, c := range map[string]struct {
		change func(*billing.PriceBook)
		reason string // "" = taken
	}{
		"a new alias": {func(b *billing.PriceBook) {
			b.Aliases = append(b.Aliases, billing.ModelAlias{Alias: "best", Model: "claude-sonnet-4-5"})
		}, ""},
		"the same alias again": {func(*billing.PriceBook) {}, ""},
		"an alias that it reads as": {func(b *billing.PriceBook) {
			b.Aliases = append(b.Aliases, billing.ModelAlias{Alias: "x/claude-sonnet-4-5", Model: "claude-sonnet-4-5"})
		}, ""},
		"a new model": {func(b *billing.PriceBook) { b.Models = append(b.Models, row("claude-sonnet-5")) }, ""},
		"an alias for what is ambiguous": {func(b *billing.PriceBook) {
			b.Aliases = append(b.Aliases, billing.ModelAlias{Alias: "Twin-2", Model: "twin-2"})
		}, ""},
		"an alias of another model": {func(b *billing.PriceBook) { b.Aliases[0].Model = "claude-sonnet-4" }, "the name claude-3-5-haiku reads as claude-haiku-3-5"},
		"an alias that reads as another model": {func(b *billing.PriceBook) {
			b.Aliases = append(b.Aliases, billing.ModelAlias{Alias: "x/claude-sonnet-4-20250514", Model: "claude-sonnet-4-5"})
		}, "the name x/claude-sonnet-4-20250514 reads as claude-sonnet-4"},
		"a model that reads as another one": {
			func(b *billing.PriceBook) { b.Models = append(b.Models, row("anthropic/claude-sonnet-4.5")) },
			"the name anthropic/claude-sonnet-4.5 reads as claude-sonnet-4-5",
		},
		"a dated model beside the undated one": {
			func(b *billing.PriceBook) { b.Models = append(b.Models, row("claude-sonnet-4-5-20250929")) },
			"the name claude-sonnet-4-5-20250929 reads as claude-sonnet-4-5",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, take := range map[string]func(stored, edition *billing.PriceBook) error{
				"load": func(stored, edition *billing.PriceBook) error {
					_, err := stored.Extend(edition, date("2026-01-01"))
					return err
				},
				"reprice": func(stored, edition *billing.PriceBook) error {
					_, err := stored.Correct(edition, date("2026-01-01"))
					return err
				},
			} {
				stored, edition := namesBook(), namesBook()
				c.change(edition)
				err := take(stored, edition)
				if c.reason == "" {
					require.NoError(t, err, how)
					require.ElementsMatch(t, edition.Aliases, stored.Aliases, how)
					continue
				}
				require.ErrorIs(t, err, billing.ErrConflict, how)
				require.Contains(t, err.Error(), c.reason, how)
				require.Len(t, stored.Aliases, 2, how)
			}
		})
	}
}
