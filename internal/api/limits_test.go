package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPagesFollowEachOtherByACursorBoundToTheFilters(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	for path, want := range map[string][]string{
		"/v1/organizations/acme/limits?limit=4":           {`["0","1","2","3"]`, `["4","5","6","7"]`, `["8","9"]`},
		"/v1/organizations/acme/notices?all=true&limit=5": {`{"all":true,"rows":"98765"}`, `{"all":true,"rows":"43210"}`},
	} {
		next, cursor := path, ""
		for i, page := range want {
			status, header, body := send(t, server, request{method: http.MethodGet, path: next, key: key})
			require.Equal(t, http.StatusOK, status, body)
			require.JSONEq(t, page, body)
			if i == len(want)-1 {
				require.Empty(t, header.Get("Link"), "the list has ended")
				break
			}
			cursor = header.Get("Next-Cursor")
			link := header.Get("Link")
			require.True(t, strings.HasSuffix(link, `>; rel="next"`))
			next = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
		}
		for _, other := range []string{"/v1/organizations/acme/notices?all=false", "/v1/organizations/globex/limits?", "/v1/organizations/acme/invoices?"} {
			status, _, body := send(t, server, request{method: http.MethodGet, path: other + "&cursor=" + cursor, key: key})
			require.Equal(t, http.StatusBadRequest, status)
			require.Contains(t, body, "cursor")
		}
	}
}

func TestOnlySomeRolesChangeLimits(t *testing.T) {
	t.Parallel()
	server, store := newGateway(t, nil)
	set := request{
		method: http.MethodPut, path: "/v1/organizations/acme/limits", contentType: "application/json",
		body: `{"scope":"user","subject":"alice","amount":"12.50","thresholds":[50],"reason":"asked"}`,
	}
	for role, want := range map[string]int{"owner": 200, "primary_owner": 200, "billing_manager": 200, "": 403, "member": 403} {
		set.key = store.made("acme", ScopeLimitsWrite)
		held := store.keys[HashKey(set.key)]
		held.Role = role
		store.keys[HashKey(set.key)] = held
		status, _, body := send(t, server, set)
		require.Equal(t, want, status, body)
		if want == http.StatusOK {
			require.Contains(t, body, held.ID, "who")
			require.Contains(t, body, `"Amount":"12.5"`)
		}
	}
	status, header, _ := send(t, server, request{method: http.MethodPatch, path: set.path, key: key})
	require.Equal(t, http.StatusMethodNotAllowed, status)
	require.Equal(t, "GET, PUT, DELETE", header.Get("Allow"))
}

func TestLimitsThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	for body, says := range map[string]string{
		`{"scope":"organization"}`:                                        "amount: accepted",
		`{"scope":"organization","amount":5}`:                             "amount: accepted",
		`{"scope":"organization","amount":"-1"}`:                          "amount: accepted",
		`{"scope":"organization","amount":"1e3"}`:                         "amount: accepted",
		`{"scope":"organization","amount":"much"}`:                        "amount: accepted",
		`{"scope":"group","amount":"1"}`:                                  "scope: ",
		`{"scope":"organization","subject":"acme","amount":"1"}`:          "subject: ",
		`{"scope":"user","amount":"1"}`:                                   "subject: ",
		`{"scope":"user","subject":" a","amount":"1"}`:                    "subject: ",
		`{"scope":"user","subject":"a","amount":"1","amount":"2"}`:        "each key once",
		`{"scope":"user","subject":"a","amount":"1","Mode":"pooled"}`:     "each key once",
		`{"scope":"user","subject":"a","amount":"1","reason":"a\u0000b"}`: "reason: ",
	} {
		status, _, answer := send(t, server, request{
			method: http.MethodPut, path: "/v1/organizations/acme/limits", contentType: "application/json", body: body, key: key,
		})
		require.Equal(t, http.StatusBadRequest, status, body)
		require.Contains(t, answer, says, body)
	}
	for _, body := range []string{`{"scope":"organization","amount":null}`, `{"scope":"organization","amount":"0"}`} {
		status, _, answer := send(t, server, request{
			method: http.MethodPut, path: "/v1/organizations/acme/limits", contentType: "application/json", body: body, key: key,
		})
		require.Equal(t, http.StatusOK, status, answer)
	}
	for _, query := range []string{"", "?scope=user", "?scope=organization&user=a"} {
		status, _, _ := send(t, server, request{method: http.MethodDelete, path: "/v1/organizations/acme/limits" + query, key: key})
		require.Equal(t, http.StatusBadRequest, status, query)
	}
}
