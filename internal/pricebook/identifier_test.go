package pricebook_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

func TestModelsAndProductsAreReadInOneSpelling(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer("claude-opus-4-6", "mode\u0300le", "[chat]", "[cafe\u0301]").Replace(example)
	require.NotEqual(t, example, text)
	book, err := pricebook.Parse([]byte(text))
	require.NoError(t, err)
	require.Equal(t, "mod\u00e8le", book.Models[0].Model)
	covering := 0
	for _, seat := range book.Seats {
		if len(seat.Products) > 0 {
			require.Equal(t, []string{"caf\u00e9"}, seat.Products)
			covering++
		}
	}
	require.NotZero(t, covering)

	_, err = pricebook.Parse([]byte(strings.Replace(example, "[chat]", "[cafe\u0301, caf\u00e9]", 1)))
	require.ErrorIs(t, err, billing.ErrInvalid)
	require.ErrorContains(t, err, "the same product as on line")
	for given, says := range map[string]string{
		"a\u200bb": "model: contains U+200B ZERO WIDTH SPACE, which is invisible; accepted: 1 to 256 bytes",
		`" m"`:     "model: begins or ends with a space; accepted: 1 to 256 bytes",
		`""`:       "model: is empty; accepted: 1 to 256 bytes",
	} {
		_, err := pricebook.Parse([]byte(strings.Replace(example, "claude-opus-4-6", given, 1)))
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "for the model's name as usage events give it")
	}
}
