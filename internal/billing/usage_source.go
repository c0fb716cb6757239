package billing

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// UsageSource is the path by which usage arrives.
type UsageSource string

// The paths by which usage arrives.
const (
	SourceAPI         UsageSource = "api"         // POST /v1/usage, in the format of usage events
	SourceOTLP        UsageSource = "otlp"        // POST /v1/logs, OpenTelemetry log records
	SourceCloudEvents UsageSource = "cloudevents" // POST /v1/usage, as CloudEvents
	SourceImport      UsageSource = "import"      // a file: usage import, or clock advance --usage
)

// AnySource lifts the binding of a product, where terms are changed.
const AnySource UsageSource = "any"

// UsageSources lists the sources to which a product may be bound.
func UsageSources() []UsageSource {
	return []UsageSource{SourceAPI, SourceOTLP, SourceCloudEvents, SourceImport}
}

// CheckUsageSource reports what is wrong with a binding of a product to a source.
func CheckUsageSource(product string, source UsageSource) error {
	if name, err := NormalizeID(product, MaxName); err != nil || name != product || strings.Contains(product, "=") {
		return Invalid("usage_source: %q is not the name of a product; accepted: 1 to %d bytes in Unicode NFC, without '=', invisible characters and spaces at the ends", product, MaxName)
	}
	if !slices.Contains(UsageSources(), source) {
		return Invalid("usage_source: %s=%s; accepted sources: api, otlp, cloudevents, import", product, source)
	}
	return nil
}

// RefuseSource says why usage of a product is not taken from a source, or returns
// "". A product that is bound to one source is taken from that one only, so that a
// request which two paths report is not billed twice.
func (o *Organization) RefuseSource(product string, source UsageSource) string {
	bound, ok := o.UsageSources[product]
	if !ok || bound == source {
		return ""
	}
	return fmt.Sprintf("usage of %s is bound to the source %s, and this came by %s; accepted: what comes by %s",
		product, bound, cmp.Or(source, "an unnamed path"), bound)
}

// bindSources returns bindings with some changed; AnySource lifts one.
func bindSources(bound, change map[string]UsageSource) map[string]UsageSource {
	after := maps.Clone(bound)
	if after == nil {
		after = map[string]UsageSource{}
	}
	for product, source := range change {
		if source == AnySource {
			delete(after, product)
			continue
		}
		after[product] = source
	}
	return after
}

// sourceTerms are the bindings as a term, "PRODUCT=SOURCE" in order.
func sourceTerms(bound map[string]UsageSource) []string {
	terms := []string{}
	for _, product := range slices.Sorted(maps.Keys(bound)) {
		terms = append(terms, product+"="+string(bound[product]))
	}
	return terms
}
