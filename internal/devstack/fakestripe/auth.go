package fakestripe

import (
	"net/http"
	"strings"
)

// authorize accepts any secret or restricted key of test mode, as Stripe does
// for one account; keys are never repeated in messages.
func authorize(r *http.Request) *apiError {
	key, _, ok := r.BasicAuth()
	if !ok {
		key, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	switch {
	case !ok || key == "":
		return unauthorized("You did not provide an API key. You need to provide your API key in the " +
			"Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').")
	case strings.HasPrefix(key, "sk_live_") || strings.HasPrefix(key, "rk_live_"):
		return unauthorized("This is the local Stripe of a development stack: it takes keys of test mode " +
			"only (sk_test_…), and was sent a live key. Unset STRIPE_API_BASE to reach Stripe.")
	case !strings.HasPrefix(key, "sk_test_") && !strings.HasPrefix(key, "rk_test_"):
		return unauthorized("Invalid API Key provided.")
	}
	if v := r.Header.Get("Stripe-Version"); v != "" && v != apiVersion {
		return invalid("", "", "The local Stripe speaks API version %s only, not %s.", apiVersion, v)
	}
	return nil
}

func unauthorized(message string) *apiError {
	return &apiError{
		Status: http.StatusUnauthorized, Unsaved: true, Type: "invalid_request_error", Message: message,
	}
}
