package api

import (
	"context"
	"net/http"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// ExportSpend has one member, whose names are meant to harm.
func (f *fakeStore) ExportSpend(_ context.Context, _ string, span billing.SpendSpan) ([]billing.SpendRow, error) {
	row := billing.SpendRow{
		User: `=HYPERLINK("http://evil","x")`, Product: "+chat", Model: "@m", Exact: billing.Money{Amount: decimal.RequireFromString("1.005"), Currency: "USD"},
		Amount: billing.Money{Amount: decimal.RequireFromString("1.01"), Currency: "USD"},
	}
	row.Counts[billing.Input] = decimal.NewFromInt(7)
	if span.CostCenters {
		row.CostCenter = "-1"
	}
	return []billing.SpendRow{row}, f.broken
}

func TestAnExportRunsNoFormulas(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	ask := request{method: http.MethodGet, path: "/v1/organizations/acme/spend.csv?by=cost_center", key: key}
	status, header, body := send(t, server, ask)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "text/csv; charset=utf-8", header.Get("Content-Type"))
	require.Equal(t, "user,product,model,cost_center,input,output,cache_write_5m,cache_write_1h,cache_read,web_search,code_execution,exact_amount,amount,currency,sent_as\n"+
		`"'=HYPERLINK(""http://evil"",""x"")",'+chat,'@m,'-1,7,0,0,0,0,0,0,1.005,1.01,USD,`+"\n", body)
	for _, query := range []string{"?by=colour", "?since=2026"} {
		ask.path = "/v1/organizations/acme/spend.csv" + query
		status, _, _ = send(t, server, ask)
		require.Equal(t, http.StatusBadRequest, status)
	}
}
