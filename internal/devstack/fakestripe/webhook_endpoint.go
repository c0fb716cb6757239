package fakestripe

import (
	"net/url"
	"slices"
)

// localEndpoint is the endpoint of Options and SetWebhook. It takes every event
// and is not listed by the API.
const localEndpoint = "we_local"

type webhookEndpoint struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	APIVersion    text              `json:"api_version"`
	Created       instant           `json:"created"`
	Description   text              `json:"description"`
	EnabledEvents []string          `json:"enabled_events"`
	Livemode      bool              `json:"livemode"`
	Metadata      map[string]string `json:"metadata"`
	Status        string            `json:"status"`
	URL           string            `json:"url"`
	// Secret is shown in the answer to the creation only.
	Secret text `json:"-"`
}

func (w *webhookEndpoint) kind() string  { return "webhook_endpoint" }
func (w *webhookEndpoint) key() string   { return w.ID }
func (w *webhookEndpoint) owner() string { return "" }
func (w *webhookEndpoint) hidden() any   { return &w.Secret }

func webhookEndpointRoutes() []route {
	create := fields{
		"url": required(anyText()), "enabled_events": required(field{}), "enabled_events[]": anyText(),
		"description": clearable(anyText()), "api_version": oneOf(apiVersion),
	}
	return []route{
		post("/v1/webhook_endpoints", createEndpoint, create.with(metadataFields())),
		get("/v1/webhook_endpoints", listEndpoints, pageFields()),
		get("/v1/webhook_endpoints/{id}", retrieveEndpoint, fields{}),
		del("/v1/webhook_endpoints/{id}", deleteEndpoint),
	}
}

func createEndpoint(t *tx, r *request) (any, *apiError) {
	if u, err := url.Parse(r.text("url")); err != nil || u.Host == "" {
		return nil, invalid("url", "url_invalid", "Invalid URL: An explicit scheme (such as https) must be provided.")
	}
	metadata, err := mergeMetadata(nil, r.params)
	if err != nil {
		return nil, err
	}
	w := &webhookEndpoint{
		ID: newID("we"), Object: "webhook_endpoint", APIVersion: text(r.text("api_version")),
		Created: instant(t.wall.Unix()), Description: text(r.text("description")),
		EnabledEvents: r.list("enabled_events"), Metadata: metadata, Status: "enabled", URL: r.text("url"),
		Secret: text(newID("whsec")),
	}
	t.put(w)
	return struct {
		*webhookEndpoint
		Secret string `json:"secret"`
	}{w, string(w.Secret)}, nil
}

func listEndpoints(t *tx, r *request) (any, *apiError) {
	return where(t, r, t.endpoints, "", func(*webhookEndpoint) bool { return true })
}

func (t *tx) endpoint(r *request) (*webhookEndpoint, *apiError) {
	w, ok := t.endpoints.get(r.id())
	if !ok {
		return nil, missing("webhook endpoint", r.id(), "webhook_endpoint")
	}
	return w, nil
}

func retrieveEndpoint(t *tx, r *request) (any, *apiError) { return t.endpoint(r) }

func deleteEndpoint(t *tx, r *request) (any, *apiError) {
	w, err := t.endpoint(r)
	if err != nil {
		return nil, err
	}
	t.drop(w)
	return deleted{ID: w.ID, Object: w.Object, Deleted: true}, nil
}

// deleted is what is left of an object.
type deleted struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}

// hooksFor lists the endpoints that are to get an event of this type. s.mu is held.
func (s *Server) hooksFor(eventType string) []string {
	var ids []string
	if s.local.URL != "" {
		ids = append(ids, localEndpoint)
	}
	for _, w := range s.state.endpoints.newest("") {
		if subscribes(w.EnabledEvents, eventType) {
			ids = append(ids, w.ID)
		}
	}
	return ids
}

// webhook composes one delivery; an endpoint that is gone has no URL.
func (s *Server) webhook(e *event, endpoint string) (to, secret string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.local
	if endpoint != localEndpoint {
		known, ok := s.state.endpoints.get(endpoint)
		if !ok {
			return "", "", nil
		}
		w = known
	}
	return w.URL, string(w.Secret), mustEncode(e)
}

// delivered notes that an endpoint took the event, or was given up.
func (s *Server) delivered(e *event, endpoint string, taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := sent{Event: e.ID, Endpoint: endpoint, Taken: taken}
	s.state.events.settle(done)
	if err := s.journal.append(entry{Sent: &done}); err != nil {
		s.log.Error("note webhook delivery", "event", e.ID, "error", err)
	}
}

// settle notes what became of a delivery. An endpoint that was given up has missed
// the event, until a redelivery reaches it.
func (l *eventLog) settle(done sent) {
	e, ok := l.get(done.Event)
	if !ok {
		return
	}
	isIt := func(id string) bool { return id == done.Endpoint }
	e.Waiting = slices.DeleteFunc(slices.Clone(e.Waiting), isIt)
	e.Missed = slices.DeleteFunc(slices.Clone(e.Missed), isIt)
	if !done.Taken {
		e.Missed = append(e.Missed, done.Endpoint)
	}
	e.PendingWebhooks = len(e.Waiting) + len(e.Missed)
}
