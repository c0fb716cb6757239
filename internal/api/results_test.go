package api

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestResultsAreWrittenAsTheLibraryWritesThem(t *testing.T) {
	t.Parallel()
	texts := []string{"evt_1", " ", "a~b", `"`, `\`, "<b>", "&", "é", "\x00", "\x1f", "\x7f", "\n", "\xff", "\u2028", "日本"}
	results := []result{{}}
	for i, text := range texts {
		results = append(results, result{Index: i * 1000, ID: &text, Status: "accepted"},
			result{Index: -i, Status: text, Field: &text, Reason: nonEmpty("because " + text)})
	}
	for _, some := range [][]result{results, {}, results[:1]} {
		plain, ours := httptest.NewRecorder(), httptest.NewRecorder()
		writeJSON(plain, http.StatusOK, map[string][]result{"results": some})
		writeResults(ours, some)
		require.Equal(t, plain.Body.String(), ours.Body.String())
		require.Equal(t, plain.Header(), ours.Header())
		require.Equal(t, plain.Code, ours.Code)
	}
}
