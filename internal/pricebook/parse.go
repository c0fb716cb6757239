package pricebook

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// multiplier limits: a batch price is a part of the standard price, and a
// surcharge is no typing error like "110" for 1.10.
var (
	maxBatch  = decimal.NewFromInt(1)
	maxUSOnly = decimal.NewFromInt(10)
)

// tokenClasses are the classes that every price row prices.
var tokenClasses = slices.DeleteFunc(billing.Classes(), func(c billing.Class) bool { return !c.IsToken() })

// Parse reads a price book. Where something is wrong, the error is a
// billing.ErrInvalid with one line for each problem, in the file's order, that
// names the line, the field and what is accepted.
func Parse(data []byte) (*billing.PriceBook, error) {
	root, err := document(data)
	if err != nil {
		return nil, err
	}
	book := readBook(root)
	if err := root.found.err(); err != nil {
		return nil, err
	}
	if err := book.Validate(); err != nil {
		return nil, err
	}
	return book, nil
}

func readBook(root field) *billing.PriceBook {
	top := root.mapping("name", "currency", "seats", "surcharges", "models", "tools", "service_tiers", "fallback")
	book := &billing.PriceBook{
		Name:       readName(top.field("name")),
		Currency:   readCurrency(top.field("currency")),
		Seats:      readSeats(top.field("seats")),
		Surcharges: readSurcharges(top.field("surcharges")),
		Tools:      readTools(top.field("tools")),

		ServiceTiers: readServiceTiers(top.field("service_tiers")),
		Fallback:     readFallback(top.field("fallback")),
	}
	book.Models, book.Aliases = readModels(top.field("models"))
	checkSurchargedTiers(top.field("surcharges"), book)
	if root.found.none() && len(book.Seats) == 0 && len(book.Models) == 0 {
		root.wrong("no prices; accepted: a book with seats, models or both")
	}
	return book
}

func readName(f field) string {
	name := f.text("a name like anthropic-2026-01")
	if name != "" && !billing.ValidSlug(name) {
		f.wrong("%q is not 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit", name)
	}
	return name
}

func readCurrency(f field) billing.Currency {
	code := f.text("a currency code like USD")
	currency, err := billing.ParseCurrency(code)
	if err != nil && code != "" {
		f.wrong("%v", err)
	}
	return currency
}

func readSeats(list field) []billing.SeatPrice {
	var prices []billing.SeatPrice
	seen := firsts{}
	for _, item := range list.optionalList() {
		row := item.mapping("tier", "amount", "products", "effective_from")
		price := billing.SeatPrice{
			Tier:          readName(row.field("tier")),
			EffectiveFrom: row.field("effective_from").optionalInstant(),
			Amount:        row.field("amount").price(),
			Products:      readProducts(row.field("products")),
		}
		seen.once(item, "tier and effective_from", price.Tier, price.EffectiveFrom)
		prices = append(prices, price)
	}
	return prices
}

func readProducts(list field) []string {
	if !list.present() {
		return nil // everything
	}
	var products []string
	items := list.list("a list of products like [chat, claude_code]")
	if len(items) == 0 && list.isList() {
		list.wrong("empty; accepted: a list of products, or no such key for all products")
	}
	seen := firsts{}
	for _, item := range items {
		product := item.id("a product like chat", billing.MaxName)
		seen.once(item, "product", product)
		products = append(products, product)
	}
	return products
}

func readSurcharges(list field) []billing.SurchargePrice {
	var prices []billing.SurchargePrice
	seen := firsts{}
	for _, item := range list.optionalList() {
		row := item.mapping("name", "tier", "amount", "effective_from")
		name := row.field("name")
		price := billing.SurchargePrice{
			Name:          name.text("the surcharge's name: " + billing.HIPAA),
			Tier:          readName(row.field("tier")),
			EffectiveFrom: row.field("effective_from").optionalInstant(),
			Amount:        row.field("amount").price(),
		}
		if price.Name != "" && price.Name != billing.HIPAA {
			name.wrong("%q is not a surcharge that this version charges; accepted: %s", price.Name, billing.HIPAA)
		}
		seen.once(item, "name, tier and effective_from", price.Name, price.Tier, price.EffectiveFrom)
		prices = append(prices, price)
	}
	return prices
}

// checkSurchargedTiers finds surcharges that could never be charged.
func checkSurchargedTiers(list field, book *billing.PriceBook) {
	for i, item := range list.items() {
		if tier := book.Surcharges[i].Tier; list.found.none() && !slices.Contains(book.Tiers(), tier) {
			item.wrong("tier %q has no price under seats", tier)
		}
	}
}

func readTools(list field) []billing.ToolPrice {
	var prices []billing.ToolPrice
	seen := firsts{}
	for _, item := range list.optionalList() {
		price := readTool(item.mapping("tool", "per", "amount", "effective_from", "minimum", "free_per_month"))
		seen.once(item, "tool and effective_from", price.Tool, price.EffectiveFrom)
		prices = append(prices, price)
	}
	return prices
}

// readTool reads the price of a tool's requests, or of the seconds that code runs.
func readTool(row mapping) billing.ToolPrice {
	name := row.field("tool")
	price := billing.ToolPrice{
		Tool:          name.text("the tool's name: " + strings.Join(billing.Tools(), " or ")),
		EffectiveFrom: row.field("effective_from").optionalInstant(),
		Amount:        row.field("amount").price(),
	}
	if price.Tool != "" && !slices.Contains(billing.Tools(), price.Tool) {
		name.wrong("%q is not a tool that this version prices; accepted: %s", price.Tool, strings.Join(billing.Tools(), ", "))
	}
	runs := price.Tool == billing.CodeExecution.String()
	if runs {
		price.Per = row.field("per").integer(plainSecondsPer, "1, 60 or 3600, the seconds that the amount is for")
	} else {
		price.Per = row.field("per").powerOfTen()
	}
	for _, term := range []struct {
		key string
		to  *int64
	}{{"minimum", &price.Minimum}, {"free_per_month", &price.FreePerMonth}} {
		field := row.field(term.key)
		switch {
		case field.present() && !runs:
			field.wrong("accepted: seconds, with the tool %s only", billing.CodeExecution)
		case field.present():
			*term.to = field.integer(plainSeconds, "whole seconds like 300")
		}
	}
	return price
}

func readModels(list field) (prices []billing.ModelPrice, aliases []billing.ModelAlias) {
	var checks []func()
	seen := firsts{}
	for _, item := range list.optionalList() {
		model := item.mapping("model", "aliases", "batch", "us_only", "prices")
		name := model.field("model")
		common := billing.ModelPrice{
			Model:  name.id("the model's name as usage events give it, like claude-sonnet-4-5", billing.MaxModel),
			Batch:  model.field("batch").multiplier("0.5", maxBatch),
			USOnly: model.field("us_only").multiplier("1.1", maxUSOnly),
		}
		seen.once(name, "name", common.Model)
		prices = append(prices, readModelPrices(model.field("prices"), common)...)
		for _, alias := range model.field("aliases").optionalList() {
			also := alias.id("another name of the model, like claude-3-5-haiku", billing.MaxModel)
			aliases = append(aliases, billing.ModelAlias{Alias: also, Model: common.Model})
			checks = append(checks, func() { seen.once(alias, "name", also) }) // models first, wherever they stand
		}
	}
	for _, check := range checks {
		check()
	}
	return prices, aliases
}

// readModelPrices reads the rows of one model, which have the model's name and
// multipliers in common. Fast requests cannot be batched, so fast rows
// take no batch multiplier.
func readModelPrices(list field, common billing.ModelPrice) []billing.ModelPrice {
	items := list.list("a list of prices")
	if len(items) == 0 && list.isList() {
		list.wrong("empty; accepted: at least one row of prices")
	}
	var rows []billing.ModelPrice
	seen := firsts{}
	for _, item := range items {
		row := readModelPrice(item, common)
		seen.once(item, "speed, effective_from and prompt_tokens_above", row.Speed, row.EffectiveFrom, row.PromptTokensAbove)
		rows = append(rows, row)
	}
	for i, row := range rows {
		base := func(other billing.ModelPrice) bool {
			return other.PromptTokensAbove == 0 && other.Speed == row.Speed && other.EffectiveFrom.Equal(row.EffectiveFrom)
		}
		if list.found.none() && !slices.ContainsFunc(rows, base) {
			items[i].wrong("no row prices the smaller prompts; accepted: a band beside a row of the same speed and effective_from without prompt_tokens_above")
		}
	}
	return rows
}

func readModelPrice(item field, common billing.ModelPrice) billing.ModelPrice {
	keys := []string{"effective_from", "speed", "prompt_tokens_above"}
	for _, class := range tokenClasses {
		keys = append(keys, class.String())
	}
	fields := item.mapping(keys...)
	row := common
	row.EffectiveFrom = fields.field("effective_from").instant()
	row.Speed = readSpeed(fields.field("speed"))
	if band := fields.field("prompt_tokens_above"); band.present() {
		row.PromptTokensAbove = band.wholeNumber()
	}
	if row.Speed == billing.Fast {
		row.Batch = decimal.NullDecimal{}
	}
	for _, class := range tokenClasses {
		price := fields.field(class.String())
		if !price.present() {
			price.wrong("missing; accepted: every token class with its own price, since none is derived from another")
			continue
		}
		row.PerMillion[class] = price.price()
	}
	return row
}

func readSpeed(f field) string {
	if !f.present() {
		return billing.Standard
	}
	accepted := billing.Standard + " or " + billing.Fast
	speed := f.text(accepted)
	if speed != "" && speed != billing.Standard && speed != billing.Fast {
		f.wrong("%q is not a speed; accepted: %s", speed, accepted)
	}
	return speed
}

// firsts remembers where each combination of values stood first.
type firsts map[string]int

// once reports f where its values have been seen before. It says nothing in a
// file with unreadable fields, whose zero values would look alike.
func (s firsts) once(f field, what string, values ...any) {
	if !f.found.none() {
		return
	}
	for i, value := range values {
		if at, ok := value.(time.Time); ok {
			values[i] = at.UnixMicro()
		}
	}
	key := fmt.Sprintf("%#v", values)
	if line, seen := s[key]; seen {
		f.wrong("the same %s as on line %d", what, line)
		return
	}
	s[key] = f.line
}
