package otlp

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"
	common "go.opentelemetry.io/proto/otlp/common/v1"
)

// attributes are the attributes of a record or a resource by name.
type attributes map[string]*common.AnyValue

func attributesOf(list []*common.KeyValue) attributes {
	byName := make(attributes, len(list))
	for _, a := range list {
		byName[a.GetKey()] = a.GetValue()
	}
	return byName
}

// text is an attribute as text; "" is one that is absent or no single value.
// Numbers are as they are written in digits: versions differ on which attributes
// are text.
func (a attributes) text(name string) string {
	switch value := a[name].GetValue().(type) {
	case *common.AnyValue_StringValue:
		return value.StringValue
	case *common.AnyValue_IntValue:
		return strconv.FormatInt(value.IntValue, 10)
	case *common.AnyValue_DoubleValue:
		return strconv.FormatFloat(value.DoubleValue, 'f', -1, 64)
	case *common.AnyValue_BoolValue:
		return strconv.FormatBool(value.BoolValue)
	}
	return ""
}

// first is the first of several attributes that has a value.
func (a attributes) first(names ...string) string {
	for _, name := range names {
		if text := a.text(name); text != "" {
			return text
		}
	}
	return ""
}

// count is an attribute as a whole number; nil is one that is absent.
func (a attributes) count(name string) (*int64, *Problem) {
	text := a.text(name)
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || strings.HasPrefix(text, "+") {
		return nil, &Problem{name, fmt.Sprintf("is %.40q; accepted: a whole number that is not negative", text)}
	}
	return &n, nil
}

// cost is an attribute as an amount above 0; anything else is none. Claude Code
// states 0 where it knows no price.
func (a attributes) cost(name string) decimal.NullDecimal {
	text := a.text(name)
	if len(text) > 40 {
		return decimal.NullDecimal{}
	}
	amount, err := decimal.NewFromString(text)
	if err != nil || !amount.IsPositive() || amount.Exponent() < -40 || amount.Exponent() > 10 {
		return decimal.NullDecimal{}
	}
	return decimal.NewNullDecimal(amount)
}
