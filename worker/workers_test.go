package main

import (
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/activities"
	"github.com/arrears-dev/arrears/workflows"
)

// TestEveryActivityIsRegisteredOnce holds what is registered against what the
// workflows ask for.
func TestEveryActivityIsRegisteredOnce(t *testing.T) {
	t.Parallel()
	contract := reflect.TypeFor[workflows.Activities]()
	registered := map[string]string{}
	for _, q := range queues(activities.New(nil, nil, nil, nil), 20) {
		for _, activity := range q.activities {
			name := nameOf(activity)
			require.Empty(t, registered[name], "%s is registered twice", name)
			registered[name] = q.name
		}
		if q.name != workflows.TaskQueue {
			require.Empty(t, q.workflows)
			limit := 20.0
			if q.name == workflows.StripeListsQueue {
				limit = listsPerSecond
			}
			require.InDelta(t, limit, q.perSecond, 0, "the server limits the provider's queues")
		}
	}
	for i := range contract.NumMethod() {
		require.Contains(t, registered, contract.Method(i).Name)
	}
	require.Len(t, registered, contract.NumMethod())
	require.Equal(t, map[string]string{
		"CreateProviderInvoice": workflows.StripeInvoicesQueue, "AddProviderItem": workflows.StripeItemsQueue,
		"FinalizeProviderInvoice": workflows.StripeFinalizeQueue, "CollectInvoice": workflows.StripePaymentsQueue,
		"SweepEvents": workflows.StripeListsQueue, "SweepInvoices": workflows.StripeListsQueue,
	}, without(registered, workflows.TaskQueue))
}

func nameOf(method any) string {
	full := runtime.FuncForPC(reflect.ValueOf(method).Pointer()).Name()
	return strings.TrimSuffix(full[strings.LastIndexByte(full, '.')+1:], "-fm")
}

func without(registered map[string]string, queue string) map[string]string {
	others := map[string]string{}
	for name, at := range registered {
		if at != queue {
			others[name] = at
		}
	}
	return others
}
