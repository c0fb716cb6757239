package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheGatewayReadsIDsInOneSpelling(t *testing.T) {
	t.Parallel()
	const apart, together = "rene\u0301e", "ren\u00e9e"
	server, _ := newGateway(t, nil)
	limits := "/v1/organizations/acme/limits"
	for name, asked := range map[string]request{
		"whose limit is set":      {method: http.MethodPut, path: limits, contentType: "application/json", body: `{"scope":"user","subject":"` + apart + `","amount":"1"}`},
		"whose limit is removed":  {method: http.MethodDelete, path: limits + "?scope=user&subject=" + url.QueryEscape(apart)},
		"whose spend is asked of": {method: http.MethodGet, path: "/v1/organizations/acme/spend?user=" + url.QueryEscape(apart)},
	} {
		asked.key = key
		status, _, answer := send(t, server, asked)
		require.Equal(t, http.StatusOK, status, answer)
		require.Contains(t, answer, `"`+together+`"`, name)
	}

	body := `{"organization":"acme","user":"` + apart + `","product":"` + apart + `","model":"` + apart + `"}`
	r := httptest.NewRequest(http.MethodPost, "/v1/limits/check", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	asked, refused := readCheck(httptest.NewRecorder(), r)
	require.Nil(t, refused)
	require.Equal(t, []string{together, together, together}, []string{*asked.User, *asked.Product, *asked.Model})
}

func TestACheckOfWhatNobodyCanReadIsRefusedByItsField(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	for field, body := range map[string]string{
		"user":    `{"organization":"acme","user":"a\u200bb","product":"chat"}`,
		"product": `{"organization":"acme","user":"a","product":" chat"}`,
		"model":   `{"organization":"acme","product":"chat","model":""}`,
	} {
		status, _, answer := send(t, server, checkOf(body))
		require.Equal(t, http.StatusBadRequest, status)
		require.Contains(t, answer, `"field":"`+field+`"`)
		require.Contains(t, answer, "accepted: 1 to 200 bytes")
	}
}
