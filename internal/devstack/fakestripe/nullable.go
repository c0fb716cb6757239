package fakestripe

import (
	"encoding/json"
	"strconv"
)

// text is a string that Stripe writes as null when it is empty.
type text string

func (t text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}

// instant is a Unix time that Stripe writes as null when it is not set.
type instant int64

func (i instant) MarshalJSON() ([]byte, error) {
	if i == 0 {
		return []byte("null"), nil
	}
	return strconv.AppendInt(nil, int64(i), 10), nil
}
