package temporaltest_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/arrears-dev/arrears/internal/devstack/temporaltest"
)

func TestMain(m *testing.M) {
	os.Exit(temporaltest.Main(m, map[string]enumspb.IndexedValueType{
		"Organization": enumspb.INDEXED_VALUE_TYPE_KEYWORD,
	}))
}

func TestDial(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a workflow runs", "and another on the same server"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, queue := temporaltest.Dial(t), temporaltest.Unique(t)
			w := worker.New(c, queue, worker.Options{})
			w.RegisterWorkflow(hello)
			require.NoError(t, w.Start())
			defer w.Stop()

			organization := temporal.NewSearchAttributeKeyKeyword("Organization")
			run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
				ID:                    queue,
				TaskQueue:             queue,
				TypedSearchAttributes: temporal.NewSearchAttributes(organization.ValueSet("acme")),
			}, hello, "acme")
			require.NoError(t, err)
			var greeting string
			require.NoError(t, run.Get(t.Context(), &greeting))
			require.Equal(t, "hello acme", greeting)
		})
	}
}

func hello(_ workflow.Context, name string) (string, error) {
	return "hello " + name, nil
}
