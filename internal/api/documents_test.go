package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Document writes what it was asked for; that of 2020 does not exist, and that of
// 2021 breaks off.
func (f *fakeStore) Document(_ context.Context, organization, invoice, format string, members bool) (func(io.Writer) error, error) {
	if invoice == "2020-01-01" {
		return nil, billing.NotFound("invoice %q does not exist", organization+"/"+invoice)
	}
	return func(w io.Writer) error {
		_, err := fmt.Fprintf(w, `"%s %s %s %t"`, organization, invoice, format, members)
		if invoice == "2021-01-01" {
			err = errors.New("the database went away")
		}
		return err
	}, f.broken
}

func TestAnInvoiceIsReadInTheFormatOfItsPath(t *testing.T) {
	t.Parallel()
	server, store := newGateway(t, nil)
	ask := request{method: http.MethodGet, key: store.made("acme", ScopeSpendRead)}
	for path, c := range map[string]struct{ want, contentType string }{
		"2026-10-01":                     {"acme 2026-10-01 json false", "application/json"},
		"2026-10-01.json":                {"acme 2026-10-01 json false", "application/json"},
		"2026-11-01.2":                   {"acme 2026-11-01.2 json false", "application/json"},
		"2026-11-01.2.csv?members=true":  {"acme 2026-11-01.2 csv true", "text/csv; charset=utf-8"},
		"2026-10-01/2.html?members=true": {"acme 2026-10-01/2 html true", "text/html; charset=utf-8"},
		"preview.html?members=false":     {"acme preview html false", "text/html; charset=utf-8"},
	} {
		ask.path = "/v1/organizations/acme/invoices/" + path
		status, header, body := send(t, server, ask)
		require.Equal(t, http.StatusOK, status, body)
		require.Equal(t, `"`+c.want+`"`, body)
		require.Equal(t, c.contentType, header.Get("Content-Type"))
		require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
		require.Equal(t, "private, no-store", header.Get("Cache-Control"))
	}
	for path, want := range map[string]int{
		"2020-01-01.html": http.StatusNotFound, "2026-10-01?members=all": http.StatusBadRequest, "2026-10-01?user=alice": http.StatusBadRequest,
		"2026-10-01/2/3": http.StatusNotFound,
	} {
		ask.path = "/v1/organizations/acme/invoices/" + path
		status, _, body := send(t, server, ask)
		require.Equal(t, want, status, body)
	}
}

func TestADocumentThatBreaksOffDoesNotLookWhole(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v1/organizations/acme/invoices/2021-01-01.csv", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := server.Client().Do(request)
	if err != nil {
		return // broken off before anything was sent
	}
	defer response.Body.Close()
	_, err = io.ReadAll(response.Body)
	require.Error(t, err)
}
