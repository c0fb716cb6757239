package pricebook_test

import (
	_ "embed"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

//go:embed testdata/model-names.tsv
var modelNames string

// Every row of the table names its public source. A name without a model there is of
// one that no book prices, or says another price than the model's own.
func TestTheShippedBooksTakeEveryNameOfAModelForThatModel(t *testing.T) {
	t.Parallel()
	type shipped struct {
		models []string
		rater  *billing.Rater
	}
	var books []shipped
	for _, file := range pricebook.Shipped() {
		book, err := pricebook.Parse(file.YAML)
		require.NoError(t, err)
		s := shipped{rater: billing.NewRater(book, nil)}
		for _, p := range book.Models {
			s.models = append(s.models, p.Model)
		}
		books = append(books, s)
	}
	platforms := map[string]int{}
	for line := range strings.Lines(modelNames) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		require.Len(t, columns, 4, line)
		name, model, platform, source := columns[0], columns[1], columns[2], columns[3]
		require.Contains(t, modelNames, "# ["+source+"] ", "the source of %s", name)
		platforms[platform]++
		priced := 0
		for _, book := range books {
			want := ""
			if slices.Contains(book.models, model) {
				want = model
				priced++
			}
			require.Equal(t, want, book.rater.Model(name), "%s on %s, by source %s", name, platform, source)
		}
		require.Equal(t, model != "-", priced > 0, "%s is %s, which no book prices", name, model)
	}
	for platform, least := range map[string]int{"api": 80, "bedrock": 170, "vertex": 35, "litellm": 500, "foundry": 20} {
		require.GreaterOrEqual(t, platforms[platform], least, platform)
	}
}

func TestNoNameOfAShippedBookIsAmbiguous(t *testing.T) {
	t.Parallel()
	for _, file := range pricebook.Shipped() {
		book, err := pricebook.Parse(file.YAML)
		require.NoError(t, err)
		rater := billing.NewRater(book, nil)
		for _, alias := range book.Aliases {
			require.Equal(t, alias.Model, rater.Model(alias.Alias))
			require.Equal(t, alias.Model, rater.Model("provider/"+strings.ToUpper(alias.Alias)+"-20260101"), "in another spelling")
		}
	}
}
