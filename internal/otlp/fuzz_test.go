package otlp_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/otlp"
)

// FuzzRead holds that whatever is sent is read or refused, and that a request is a
// usage event in JSON or has a reason.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	require.NoError(f, err)
	for _, file := range files {
		body, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(body, filepath.Ext(file) == ".json")
	}
	f.Add([]byte(exporting("", named, `input_tokens={"intValue":"1"}`)), true)
	f.Fuzz(func(t *testing.T, body []byte, asJSON bool) {
		contentType := otlp.Protobuf
		if asJSON {
			contentType = otlp.JSON
		}
		export, err := otlp.Read(body, contentType, most)
		if err != nil {
			return
		}
		for i := range export.Requests {
			if r := &export.Requests[i]; r.Problem == nil {
				require.NotEmpty(t, r.ID)
				require.True(t, json.Valid(r.Event("acme", r.User)))
			}
		}
	})
}
