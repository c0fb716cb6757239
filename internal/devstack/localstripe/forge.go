package localstripe

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// prepare signs a delivery, or makes the forgery of it that was ordered.
func prepare(kind WebhookFaultKind, body []byte, secret string, now time.Time) (sent []byte, signature string) {
	switch kind {
	case ForgeUnsigned:
		return body, ""
	case ForgeSecret:
		return body, sign(now, body, secret+"_of_somebody_else")
	case ForgeOld:
		return body, sign(now.Add(-301*time.Second), body, secret)
	case ForgeFuture:
		return body, sign(now.Add(time.Hour), body, secret)
	case ForgeV0:
		return body, strings.Replace(sign(now, body, secret), "v1=", "v0=", 1)
	case ForgeAltered:
		// Still JSON: another letter in the event's id.
		altered := bytes.Replace(body, []byte(`"id":"evt_`), []byte(`"id":"evT_`), 1)
		return altered, sign(now, body, secret)
	case ForgeReserialized:
		var spaced bytes.Buffer
		if json.Indent(&spaced, body, "", "  ") != nil {
			panic("an event of ours is no JSON")
		}
		return spaced.Bytes(), sign(now, body, secret)
	case ForgeLivemode:
		live := bytes.ReplaceAll(body, []byte(`"livemode":false`), []byte(`"livemode":true`))
		return live, sign(now, live, secret)
	default:
		return body, sign(now, body, secret)
	}
}
