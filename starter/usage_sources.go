package main

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/arrears-dev/arrears/internal/billing"
)

// usageSources are the products that are taken by one path only, by name.
type usageSources struct {
	bound map[string]billing.UsageSource
}

// String implements pflag.Value.
func (u *usageSources) String() string { return showSources(u.bound) }

// Type implements pflag.Value.
func (u *usageSources) Type() string { return "PRODUCT=SOURCE" }

// Set implements pflag.Value. It is called for each time that the flag is given.
func (u *usageSources) Set(s string) error {
	product, word, _ := strings.Cut(s, "=")
	if name, err := billing.NormalizeID(product, billing.MaxName); err == nil {
		product = name
	}
	source := billing.UsageSource(word)
	checked := source
	if source == billing.AnySource {
		checked = billing.SourceAPI // whatever is bound may be lifted
	}
	_, twice := u.bound[product]
	if twice || billing.CheckUsageSource(product, checked) != nil {
		return errors.New("accepted: PRODUCT=SOURCE like claude_code=otlp, each product once; sources: api, otlp, cloudevents, import, or any")
	}
	if u.bound == nil {
		u.bound = map[string]billing.UsageSource{}
	}
	u.bound[product] = source
	return nil
}

// showSources shows bindings as the flag takes them; "" for none.
func showSources(bound map[string]billing.UsageSource) string {
	var shown []string
	for _, product := range slices.Sorted(maps.Keys(bound)) {
		shown = append(shown, product+"="+string(bound[product]))
	}
	return strings.Join(shown, " ")
}
