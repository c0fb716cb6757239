package api

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/arrears-dev/arrears/internal/billing"
)

// result is the answer to one event.
type result struct {
	Index  int     `json:"index"`
	ID     *string `json:"id"`
	Status string  `json:"status"`
	Field  *string `json:"field"`
	Reason *string `json:"reason"`
}

func (r *result) answer(a billing.UsageAnswer) {
	r.Status, r.Field, r.Reason = string(a.Status), nonEmpty(a.Field), nonEmpty(a.Reason)
}

// resultBytes is about what a result takes as JSON.
const resultBytes = 96

// writeResults writes what writeJSON would. A body holds thousands of results, and
// finding out by reflection how to write each costs several times the writing.
func writeResults(w http.ResponseWriter, results []result) {
	b := make([]byte, 0, 16+resultBytes*len(results))
	b = append(b, `{"results":[`...)
	for i := range results {
		r := &results[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"index":`...)
		b = strconv.AppendInt(b, int64(r.Index), 10)
		b = appendTextOrNull(append(b, `,"id":`...), r.ID)
		b = appendText(append(b, `,"status":`...), r.Status)
		b = appendTextOrNull(append(b, `,"field":`...), r.Field)
		b = appendTextOrNull(append(b, `,"reason":`...), r.Reason)
		b = append(b, '}')
	}
	b = append(b, "]}\n"...)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(b) // the reader is gone, and so is nobody else
}

func appendTextOrNull(b []byte, text *string) []byte {
	if text == nil {
		return append(b, "null"...)
	}
	return appendText(b, *text)
}

// appendText appends a text in quotes. What may need escaping is left to the
// library.
func appendText(b []byte, text string) []byte {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			quoted, _ := json.Marshal(text) // of a text it cannot fail
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}
