package devstack

// The environment that every other command reads, and in which the user may
// name a part to use instead of an own one.
//
//nolint:gosec // G101: names of variables, no credentials
const (
	databaseEnv      = "DATABASE_URL"
	temporalEnv      = "TEMPORAL_ADDRESS"
	namespaceEnv     = "TEMPORAL_NAMESPACE"
	temporalUIEnv    = "ARREARS_TEMPORAL_UI_URL"
	stripeKeyEnv     = "STRIPE_SECRET_KEY"
	stripeBaseEnv    = "STRIPE_API_BASE"
	webhookSecretEnv = "STRIPE_WEBHOOK_SECRET"
	gatewayEnv       = "ARREARS_GATEWAY_URL"
	apiKeyEnv        = "ARREARS_API_KEY"
)

// temporalCredentials are what a client sends to a Temporal server that wants
// it. Ours does not.
var temporalCredentials = []string{"TEMPORAL_API_KEY", "TEMPORAL_TLS_CERT", "TEMPORAL_TLS_KEY", "TEMPORAL_TLS_CA"}
