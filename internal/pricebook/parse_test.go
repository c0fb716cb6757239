package pricebook_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// example is a book with one of everything.
const example = `name: example-2026
currency: USD
seats:
  - {tier: chat, amount: "20.00", products: [chat]}
  - {tier: chat, amount: "22.00", effective_from: 2026-07-01T00:00:00+02:00}
surcharges: [{name: hipaa, tier: chat, amount: "5.00"}]
models:
  - model: claude-opus-4-6
    batch: "0.5"
    us_only: 1.1
    prices:
      - {effective_from: 2026-02-01T00:00:00Z, input: "5", output: 25, cache_write_5m: 6.25, cache_write_1h: "10", cache_read: "0.50"}
      - {effective_from: 2026-02-01T00:00:00Z, prompt_tokens_above: 200000, input: "10", output: "37.50", cache_write_5m: "12.50", cache_write_1h: "20", cache_read: "1.00"}
      - {effective_from: 2026-02-01T00:00:00Z, speed: fast, input: "30", output: "150", cache_write_5m: "37.50", cache_write_1h: "60", cache_read: "3.00"}
tools: [{tool: web_search, per: 1000, amount: "10"}]
`

func TestParseReadsEveryPartOfABook(t *testing.T) {
	t.Parallel()
	book, err := pricebook.Parse([]byte(example))
	require.NoError(t, err)

	february := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	row := func(speed string, above int64, prices ...string) billing.ModelPrice {
		p := billing.ModelPrice{
			Model: "claude-opus-4-6", Speed: speed, EffectiveFrom: february, PromptTokensAbove: above,
			Batch: factor("0.5"), USOnly: factor("1.1"),
		}
		if speed == billing.Fast {
			p.Batch = decimal.NullDecimal{} // fast requests cannot be batched
		}
		for i, class := range []billing.Class{billing.Input, billing.Output, billing.CacheWrite5m, billing.CacheWrite1h, billing.CacheRead} {
			p.PerMillion[class] = decimal.RequireFromString(prices[i])
		}
		return p
	}
	want := &billing.PriceBook{
		Name: "example-2026", Currency: "USD",
		Seats: []billing.SeatPrice{
			{Tier: "chat", Amount: decimal.NewFromInt(20), Products: []string{"chat"}},
			{Tier: "chat", Amount: decimal.NewFromInt(22), EffectiveFrom: time.Date(2026, 6, 30, 22, 0, 0, 0, time.UTC)},
		},
		Surcharges: []billing.SurchargePrice{{Name: "hipaa", Tier: "chat", Amount: decimal.NewFromInt(5)}},
		Models: []billing.ModelPrice{
			row(billing.Standard, 0, "5", "25", "6.25", "10", "0.5"),
			row(billing.Standard, 200000, "10", "37.5", "12.5", "20", "1"),
			row(billing.Fast, 0, "30", "150", "37.5", "60", "3"),
		},
		Tools: []billing.ToolPrice{{Tool: "web_search", Per: 1000, Amount: decimal.NewFromInt(10)}},
	}
	require.Empty(t, cmp.Diff(want, book))
	require.Equal(t, time.UTC, book.Seats[1].EffectiveFrom.Location())
}

func factor(s string) decimal.NullDecimal {
	return decimal.NewNullDecimal(decimal.RequireFromString(s))
}

func TestParseTakesABareNumberByItsTextAndNeverAsAFloat(t *testing.T) {
	t.Parallel()
	for _, price := range []string{"0.1", "0.100000000001", "123456789012.123456789012", "22.50", "0", "7"} {
		book, err := pricebook.Parse([]byte(strings.Replace(example, "cache_write_5m: 6.25", "cache_write_5m: "+price, 1)))
		require.NoError(t, err, price)
		require.Equal(t, decimal.RequireFromString(price).String(), book.Models[0].PerMillion[billing.CacheWrite5m].String())
	}
}

func TestParseReadsTheSameBookInAnyYAMLStyle(t *testing.T) {
	t.Parallel()
	const price = "{effective_from: 2026-02-01T00:00:00Z, input: 1, output: 2, cache_write_5m: 3, cache_write_1h: 4, cache_read: 5}"
	plain := "name: b\ncurrency: USD\nmodels:\n  - model: m\n    prices:\n      - " + price + "\n"
	want, err := pricebook.Parse([]byte(plain))
	require.NoError(t, err)
	for name, text := range map[string]string{
		"JSON on one line": `{"name":"b","currency":"USD","models":[{"model":"m","prices":[{"effective_from":"2026-02-01T00:00:00Z",` +
			`"input":1,"output":2,"cache_write_5m":"3.0","cache_write_1h":"4","cache_read":5}]}]}`,
		"lines ended by CR LF":      strings.ReplaceAll(plain, "\n", "\r\n"),
		"a byte order mark":         "\ufeff" + plain,
		"document marks":            "---\n" + plain + "...\n",
		"comments":                  "# prices\n" + strings.ReplaceAll(plain, "\n", " # as agreed\n"),
		"no indentation of lists":   "name: b\ncurrency: USD\nmodels:\n- model: m\n  prices:\n  - " + price,
		"a currency in lower case":  strings.Replace(plain, "USD", "usd", 1),
		"quoted keys and values":    strings.NewReplacer("name: b", `"name": "b"`, "input: 1", `'input': "1"`).Replace(plain),
		"a band of zero":            strings.Replace(plain, "input:", "prompt_tokens_above: 0, input:", 1),
		"a speed that goes without": strings.Replace(plain, "input:", "speed: standard, input:", 1),
		"another zone":              strings.Replace(plain, "2026-02-01T00:00:00Z", "2026-02-01T05:45:00+05:45", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book, err := pricebook.Parse([]byte(text))
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(want, book))
		})
	}
}

// TestParseNamesTheLineTheFieldAndWhatIsAccepted changes one text of the
// example at a time.
func TestParseNamesTheLineTheFieldAndWhatIsAccepted(t *testing.T) {
	t.Parallel()
	const (
		row  = "line 12: models[0].prices[0]"
		band = "line 13: models[0].prices[1]"
	)
	for name, c := range map[string]struct{ old, new, want string }{
		"a price that is a word": {`cache_read: "0.50"`, `cache_read: "abc"`, row + `.cache_read: "abc" is not a decimal number like "0.30"`},
		"a negative price":       {`input: "5"`, `input: -5`, row + `.input: "-5" is not a decimal number like "0.30"`},
		"an exponent":            {`output: 25`, `output: 2.5e1`, row + `.output: "2.5e1" is not a decimal number like "0.30"`},
		"not a number":           {`output: 25`, `output: .nan`, row + `.output: ".nan" is not a decimal number like "0.30"`},
		"infinity":               {`output: 25`, `output: .inf`, row + `.output: ".inf" is not a decimal number like "0.30"`},
		"a hexadecimal":          {`output: 25`, `output: 0x19`, row + `.output: "0x19" is not a decimal number like "0.30"`},
		"an octal":               {`output: 25`, `output: 025`, row + `.output: "025" is not a decimal number like "0.30"`},
		"a thousands separator":  {`output: 25`, `output: 1_000`, row + `.output: "1_000" is not a decimal number like "0.30"`},
		"a decimal comma":        {`output: 25`, `output: "25,00"`, row + `.output: "25,00" is not a decimal number like "0.30"`},
		"a price with its sign":  {`output: 25`, `output: "$25"`, row + `.output: "$25" is not a decimal number like "0.30"`},
		"a price too fine":       {`output: 25`, `output: "0.1234567890123"`, row + `.output: "0.1234567890123" is not a decimal number like "0.30"`},
		"a price of nothing":     {`output: 25`, `output: `, row + `.output: no value; accepted: a decimal number like "0.30"`},
		"an empty price":         {`output: 25`, `output: ""`, row + `.output: "" is empty, too long or has blanks around it; accepted: a decimal number like "0.30"`},
		"a price that is a list": {`output: 25`, `output: [25]`, row + `.output: a list; accepted: a decimal number like "0.30"`},
		"a missing cache price": {
			`, cache_read: "0.50"`, ``,
			row + `.cache_read: missing; accepted: every token class with its own price, since none is derived from another`,
		},
		"an unknown key of a price": {
			`cache_read: "0.50"`, `cache_read: "0.50", cache_reed: "1"`,
			row + `.cache_reed: unknown key; accepted: effective_from, speed, prompt_tokens_above, input, output, cache_write_5m, cache_write_1h, cache_read`,
		},
		"an unknown key of the book": {
			`currency: USD`, "currency: USD\nvat: 19",
			`line 3: vat: unknown key; accepted: name, currency, seats, surcharges, models, tools, service_tiers, fallback`,
		},
		"an unknown key of a model": {`us_only: 1.1`, `us-only: 1.1`, `line 10: models[0].us-only: unknown key; accepted: model, aliases, batch, us_only, prices`},
		"a time without a zone": {
			`2026-02-01T00:00:00Z, input: "5"`, `2026-02-01T00:00:00, input: "5"`,
			row + `.effective_from: "2026-02-01T00:00:00" has no zone; accepted: a time with its zone like 2025-09-29T00:00:00Z`,
		},
		"a date": {
			`2026-07-01T00:00:00+02:00`, `2026-07-01`,
			`line 5: seats[1].effective_from: "2026-07-01" has no zone; accepted: a time with its zone like 2025-09-29T00:00:00Z`,
		},
		"no time at all": {
			`2026-07-01T00:00:00+02:00`, `July`,
			`line 5: seats[1].effective_from: "July" is not a time; accepted: a time with its zone like 2025-09-29T00:00:00Z`,
		},
		"a day that does not exist": {
			`2026-07-01T00:00:00+02:00`, `2026-02-30T00:00:00Z`,
			`line 5: seats[1].effective_from: "2026-02-30T00:00:00Z" is not a time; accepted: a time with its zone like 2025-09-29T00:00:00Z`,
		},
		"a time too fine to store": {
			`2026-07-01T00:00:00+02:00`, `2026-07-01T00:00:00.0000001Z`,
			`line 5: seats[1].effective_from: "2026-07-01T00:00:00.0000001Z" is finer than a microsecond; accepted: a time with its zone like 2025-09-29T00:00:00Z`,
		},
		"a model price without a time": {
			`effective_from: 2026-02-01T00:00:00Z, input: "5"`, `input: "5"`,
			row + `.effective_from: missing; accepted: a time with its zone like 2025-09-29T00:00:00Z`,
		},
		"a speed that is not known":  {`speed: fast`, `speed: turbo`, `line 14: models[0].prices[2].speed: "turbo" is not a speed; accepted: standard or fast`},
		"a band that is no number":   {`prompt_tokens_above: 200000`, `prompt_tokens_above: 200K`, band + `.prompt_tokens_above: "200K" is not a whole number like 200000`},
		"a band that is negative":    {`prompt_tokens_above: 200000`, `prompt_tokens_above: -1`, band + `.prompt_tokens_above: "-1" is not a whole number like 200000`},
		"two prices for one version": {`prompt_tokens_above: 200000, `, ``, band + `: the same speed, effective_from and prompt_tokens_above as on line 12`},
		"a band without a base": {
			`2026-02-01T00:00:00Z, prompt_tokens_above`, `2026-03-01T00:00:00Z, prompt_tokens_above`,
			band + `: no row prices the smaller prompts; accepted: a band beside a row of the same speed and effective_from without prompt_tokens_above`,
		},
		"a model named twice": {
			"tools:", "  - model: claude-opus-4-6\n    prices: " +
				"[{effective_from: 2026-02-01T00:00:00Z, input: 1, output: 1, cache_write_5m: 1, cache_write_1h: 1, cache_read: 1}]\ntools:",
			`line 15: models[1].model: the same name as on line 8`,
		},
		"a model without prices":    {"tools:", "  - model: m\n    prices: []\ntools:", `line 16: models[1].prices: empty; accepted: at least one row of prices`},
		"a model without a list":    {"tools:", "  - model: m\ntools:", `line 15: models[1].prices: missing; accepted: a list of prices`},
		"a model that is a word":    {"tools:", "  - claude\ntools:", `line 15: models[1]: the value "claude"; accepted: a mapping with the keys model, aliases, batch, us_only, prices`},
		"a batch price in percent":  {`batch: "0.5"`, `batch: 50`, `line 9: models[0].batch: "50" is not a multiplier above 0 and up to 1, like "0.5"`},
		"a batch price of nothing":  {`batch: "0.5"`, `batch: 0`, `line 9: models[0].batch: "0" is not a multiplier above 0 and up to 1, like "0.5"`},
		"a surcharge in percent":    {`us_only: 1.1`, `us_only: 110`, `line 10: models[0].us_only: "110" is not a multiplier above 0 and up to 10, like "1.1"`},
		"a multiplier that is text": {`us_only: 1.1`, `us_only: plenty`, `line 10: models[0].us_only: "plenty" is not a multiplier above 0 and up to 10, like "1.1"`},
		"a seat without an amount":  {`amount: "20.00", `, ``, `line 4: seats[0].amount: missing; accepted: a decimal number like "0.30"`},
		"a tier that is no slug": {
			`tier: chat, amount: "20.00"`, `tier: "Chat Seat", amount: "20.00"`,
			`line 4: seats[0].tier: "Chat Seat" is not 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit`,
		},
		"a seat priced twice":       {`, effective_from: 2026-07-01T00:00:00+02:00`, ``, `line 5: seats[1]: the same tier and effective_from as on line 4`},
		"no product":                {`products: [chat]`, `products: []`, `line 4: seats[0].products: empty; accepted: a list of products, or no such key for all products`},
		"a product twice":           {`products: [chat]`, `products: [chat, chat]`, `line 4: seats[0].products[1]: the same product as on line 4`},
		"products that are no list": {`products: [chat]`, `products: chat`, `line 4: seats[0].products: the value "chat"; accepted: a list of products like [chat, claude_code]`},
		"an unknown surcharge":      {`name: hipaa`, `name: gdpr`, `line 6: surcharges[0].name: "gdpr" is not a surcharge that this version charges; accepted: hipaa`},
		"a surcharge on no tier":    {`name: hipaa, tier: chat`, `name: hipaa, tier: chatt`, `line 6: surcharges[0]: tier "chatt" has no price under seats`},
		"an unknown tool":           {`tool: web_search`, `tool: web_fetch`, `line 15: tools[0].tool: "web_fetch" is not a tool that this version prices; accepted: web_search, code_execution`},
		"a tool per odd number":     {`per: 1000`, `per: 750`, `line 15: tools[0].per: "750" is not a power of ten like 1000, so that amounts stay exact`},
		"a tool per nothing":        {`per: 1000, `, ``, `line 15: tools[0].per: missing; accepted: a power of ten like 1000, so that amounts stay exact`},
		"code per odd span":         {`web_search, per: 1000`, `code_execution, per: 1000`, `line 15: tools[0].per: "1000" is not 1, 60 or 3600, the seconds that the amount is for`},
		"a minimum of a search":     {`per: 1000`, `per: 1000, minimum: 1`, `line 15: tools[0].minimum: accepted: seconds, with the tool code_execution only`},
		"free searches":             {`per: 1000`, `per: 1000, free_per_month: 9`, `line 15: tools[0].free_per_month: accepted: seconds, with the tool code_execution only`},
		"half a second free":        {`web_search, per: 1000`, `code_execution, per: 60, free_per_month: "0.5"`, `line 15: tools[0].free_per_month: "0.5" is not whole seconds like 300`},
		"an unknown currency":       {`currency: USD`, `currency: XAU`, `line 2: currency: currency "XAU" is not one of`},
		"a name that is no slug":    {`name: example-2026`, `name: Example 2026`, `line 1: name: "Example 2026" is not 1 to 63 of`},
		"a key written twice":       {`currency: USD`, "currency: USD\ncurrency: EUR", `line 3: not valid YAML: mapping key "currency" already defined at [2:1]`},
		"a bracket left open":       {`products: [chat]}`, `products: [chat}`, `line 4: not valid YAML: `},
		"a tabulator":               {"seats:\n", "seats:\n\t", `line 4: not valid YAML: found character '	' that cannot start any token`},
		"an alias":                  {`currency: USD`, "currency: &c USD", `line 2: currency: an anchor, alias or tag; accepted: a currency code like USD`},
		"a second book":             {"tools:", "---\ntools:", `more than one YAML document; accepted: one price book in a file`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, example, c.old)
			_, err := pricebook.Parse([]byte(strings.Replace(example, c.old, c.new, 1)))
			require.ErrorIs(t, err, billing.ErrInvalid)
			if strings.HasSuffix(c.want, " of") || strings.HasSuffix(c.want, ": ") {
				require.Contains(t, err.Error(), c.want)
				return
			}
			require.Equal(t, c.want, err.Error())
		})
	}
}

func TestParseTellsEveryProblemInTheOrderOfTheFile(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer(`output: 25`, `output: x`, `per: 1000`, `per: y`, `name: example-2026`, `nam: z`, "currency: USD\n", "").Replace(example)
	text += "currency: gold\n"
	_, err := pricebook.Parse([]byte(text))
	require.ErrorIs(t, err, billing.ErrInvalid)
	require.Equal(t, strings.Join([]string{
		`line 1: nam: unknown key; accepted: name, currency, seats, surcharges, models, tools, service_tiers, fallback`,
		`line 1: name: missing; accepted: a name like anthropic-2026-01`,
		`line 11: models[0].prices[0].output: "x" is not a decimal number like "0.30"`,
		`line 14: tools[0].per: "y" is not a power of ten like 1000, so that amounts stay exact`,
	}, "\n"), firstLines(err.Error(), 4))
	require.Contains(t, firstLines(err.Error(), 5), "\nline 15: currency: ", "by line, whatever is read first")

	_, err = pricebook.Parse([]byte(strings.ReplaceAll(example, `: "`, `: "x`)))
	require.ErrorContains(t, err, "and 8 more")
}

func TestParseRefusesFilesThatAreNoPriceBook(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"an empty file":         {"", "line 1: the file is empty; accepted: a price book with name, currency, seats and models"},
		"only comments":         {"# nothing\n", "line 1: the file is empty; accepted: a price book with name, currency, seats and models"},
		"a list":                {"- name: b\n", "line 1: a list; accepted: a mapping with the keys name, currency, seats, surcharges, models, tools, service_tiers, fallback"},
		"a word":                {"prices", `line 1: the value "prices"; accepted: a mapping with the keys name, currency, seats, surcharges, models, tools, service_tiers, fallback`},
		"a book without prices": {"name: b\ncurrency: USD\n", "line 1: no prices; accepted: a book with seats, models or both"},
		"a huge file":           {strings.Repeat("#", 1<<20+1), "the file has 1048577 bytes; accepted: a price book of at most 1048576"},
		"brackets in brackets":  {"name: b\nx: " + strings.Repeat("[", 500_000), "line 2: nested more than 20 deep; accepted: a price book"},
		"lists in lists":        {strings.Repeat("- ", 500_000), "line 1: nested more than 20 deep; accepted: a price book"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := pricebook.Parse([]byte(c.text))
			require.ErrorIs(t, err, billing.ErrInvalid)
			require.EqualError(t, err, c.want)
		})
	}
}

func firstLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[:min(n, len(lines))], "\n")
}

// FuzzParse finds files that break the reader: whatever the file, it answers
// with a valid book or an error that says so.
func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("name: x\n...\nfoo: y"))
	f.Add([]byte("name: b\ncurrency: USD\nseats: [{tier: a, amount: 1}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		book, err := pricebook.Parse(data)
		if err != nil {
			require.ErrorIs(t, err, billing.ErrInvalid)
			return
		}
		require.NoError(t, book.Validate())
	})
}
