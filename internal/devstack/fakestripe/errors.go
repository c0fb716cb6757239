package fakestripe

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// apiError is Stripe's error object with its HTTP status. An unsaved one was
// raised before execution began and is not stored under the idempotency key.
type apiError struct {
	Status        int             `json:"-"`
	Unsaved       bool            `json:"-"`
	Type          string          `json:"type"`
	Code          string          `json:"code,omitempty"`
	DeclineCode   string          `json:"decline_code,omitempty"`
	Message       string          `json:"message"`
	Param         string          `json:"param,omitempty"`
	Charge        string          `json:"charge,omitempty"`
	DocURL        string          `json:"doc_url,omitempty"`
	PaymentIntent json.RawMessage `json:"payment_intent,omitempty"`
	PaymentMethod json.RawMessage `json:"payment_method,omitempty"`
}

func (e *apiError) body() []byte {
	if e.Code != "" {
		e.DocURL = "https://stripe.com/docs/error-codes/" + dashed(e.Code)
	}
	body, err := json.Marshal(map[string]any{"error": e})
	if err != nil {
		panic(fmt.Sprintf("encode error %q: %v", e.Message, err))
	}
	return body
}

func dashed(code string) string {
	out := []byte(code)
	for i, c := range out {
		if c == '_' {
			out[i] = '-'
		}
	}
	return string(out)
}

// invalid is a parameter that fails validation.
func invalid(param, code, format string, args ...any) *apiError {
	return &apiError{
		Status: http.StatusBadRequest, Unsaved: true, Type: "invalid_request_error",
		Code: code, Param: param, Message: fmt.Sprintf(format, args...),
	}
}

// refused is a request that was understood but is not possible in the state
// that the object is in.
func refused(code, format string, args ...any) *apiError {
	e := invalid("", code, format, args...)
	e.Unsaved = false
	return e
}

func missing(what, id, param string) *apiError {
	e := invalid(param, "resource_missing", "No such %s: '%s'", what, id)
	e.Status = http.StatusNotFound
	return e
}

// badReference is a parameter that names an object that does not exist.
func badReference(what, id, param string) *apiError {
	e := missing(what, id, param)
	e.Status = http.StatusBadRequest
	return e
}

func unrecognized(method, path string) *apiError {
	e := invalid("", "", "Unrecognized request URL (%s: %s). Please see https://stripe.com/docs "+
		"or we can help at https://support.stripe.com/.", method, path)
	e.Status = http.StatusNotFound
	return e
}

func internalError(format string, args ...any) *apiError {
	return &apiError{
		Status: http.StatusInternalServerError, Type: "api_error", Message: fmt.Sprintf(format, args...),
	}
}
