package fakestripe

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
	case WebhookHuge:
		huge := append(bytes.TrimSuffix(body, []byte("}")), bytes.Repeat([]byte(" "), hugeSize)...)
		huge = append(huge, '}')
		return huge, sign(now, huge, secret)
	case StrangeType, StrangeObject, StrangeAccount, StrangeCustomer:
		other := strange(kind, body)
		return other, sign(now, other, secret)
	default:
		return body, sign(now, body, secret)
	}
}

const hugeSize = 10 << 20

// strange makes another event of a true one.
func strange(kind WebhookFaultKind, body []byte) []byte {
	event := decode(body).(map[string]any)
	event["id"] = newID("evt")
	switch kind {
	case StrangeType:
		event["type"] = "nothing.known"
	case StrangeAccount:
		event["account"] = "acct_other"
	case StrangeObject:
		event["data"] = map[string]any{"object": map[string]any{"id": "thing_1", "object": "thing"}}
	default:
		if object, ok := event["data"].(map[string]any)["object"].(map[string]any); ok {
			object["customer"] = "cus_other"
		}
	}
	return mustEncode(event)
}
