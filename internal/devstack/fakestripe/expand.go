package fakestripe

import (
	"bytes"
	"encoding/json"
	"strings"
)

const expandDepth = 4

// expandable are the fields of each kind that Stripe shows as an id, and can
// show whole.
var expandable = map[string][]string{
	"customer":       {"test_clock", "invoice_settings.default_payment_method"},
	"payment_method": {"customer"},
	"invoice":        {"customer", "charge", "payment_intent", "default_payment_method", "test_clock"},
	"line_item":      {"invoice_item"},
	"invoiceitem":    {"customer", "invoice", "test_clock"},
	"payment_intent": {"customer", "invoice", "latest_charge", "payment_method"},
	"charge":         {"customer", "invoice", "payment_intent"},
	"refund":         {"charge", "payment_intent"},
	"dispute":        {"charge", "payment_intent"},
	"credit_note":    {"customer", "invoice", "refund"},
}

// expand replaces ids in an answer by the objects that they name. Few requests
// ask for it, so that it works on decoded JSON.
func (t *tx) expand(body []byte, paths []string) ([]byte, *apiError) {
	if len(paths) == 0 {
		return body, nil
	}
	answer := decode(body)
	for _, path := range paths {
		steps := strings.Split(path, ".")
		if len(steps) > expandDepth+1 {
			return nil, invalid("expand", "", "You cannot expand more than %d levels of a property (%s).", expandDepth, path)
		}
		if err := t.expandStep(answer, steps, path, ""); err != nil {
			return nil, err
		}
	}
	return mustEncode(answer), nil
}

func decode(raw []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		panic("decode own answer: " + err.Error())
	}
	return value
}

// expandStep walks one name down. Inside an object that is no Stripe object of
// its own, such as invoice_settings, within carries the names on the way.
func (t *tx) expandStep(at any, steps []string, path, within string) *apiError {
	if all, ok := at.([]any); ok {
		for _, one := range all {
			if err := t.expandStep(one, steps, path, within); err != nil {
				return err
			}
		}
		return nil
	}
	here, ok := at.(map[string]any)
	if !ok || len(steps) == 0 {
		return nil
	}
	name := steps[0]
	value, known := here[name]
	if !known {
		return cannotExpand(path)
	}
	if id, isID := value.(string); isID {
		if !mayExpand(here, name, within) {
			return cannotExpand(path)
		}
		if o := t.find(id); o != nil {
			value = decode(t.whole(o))
			here[name] = value
		}
	} else if _, nested := value.(map[string]any); len(steps) == 1 && value != nil && !nested {
		return cannotExpand(path)
	}
	if o, isObject := value.(map[string]any); isObject && o["object"] == nil {
		return t.expandStep(value, steps[1:], path, kindOf(here)+":"+name+".")
	}
	return t.expandStep(value, steps[1:], path, "")
}

// whole is the object, or the stub that is left of a deleted customer.
func (t *tx) whole(o object) json.RawMessage {
	if c, ok := o.(*customer); ok && c.Deleted {
		return mustEncode(deleted{ID: c.ID, Object: c.Object, Deleted: true})
	}
	return t.render(o)
}

func kindOf(o map[string]any) string { kind, _ := o["object"].(string); return kind }

func mayExpand(o map[string]any, name, within string) bool {
	kind, prefix := kindOf(o), ""
	if within != "" {
		kind, prefix, _ = strings.Cut(within, ":")
	}
	for _, one := range expandable[kind] {
		if one == prefix+name {
			return true
		}
	}
	return false
}

func cannotExpand(path string) *apiError {
	return invalid("expand", "", "This property cannot be expanded (%s).", path)
}

// find returns any object by its id, or nil.
func (t *tx) find(id string) object {
	prefix, _, _ := strings.Cut(id, "_")
	switch prefix {
	case "cus":
		return found(t.customers, id)
	case "pm":
		return found(t.methods, id)
	case "in":
		return found(t.invoices, id)
	case "ii":
		return found(t.items, id)
	case "pi":
		return found(t.intents, id)
	case "ch":
		return found(t.charges, id)
	case "re":
		return found(t.refunds, id)
	case "du":
		return found(t.disputes, id)
	case "clock":
		return found(t.clocks, id)
	}
	return nil
}

func found[T object](rows *table[T], id string) object {
	if row, ok := rows.get(id); ok {
		return row
	}
	return nil
}
