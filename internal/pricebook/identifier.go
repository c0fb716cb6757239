package pricebook

import (
	"github.com/goccy/go-yaml/ast"

	"github.com/arrears-dev/arrears/internal/billing"
)

// id returns the name of a model, product or service tier in the form in which usage
// events are compared with it. A longer one no event could have.
func (f field) id(accepted string, longest int) string {
	node, isText := f.node.(*ast.StringNode)
	if !isText {
		return f.text(accepted) // a number is taken as it is written
	}
	id, err := billing.NormalizeID(node.Value, longest)
	if err != nil {
		f.wrong("%v, for %s", err, accepted)
	}
	return id
}
