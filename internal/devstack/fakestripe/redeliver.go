package fakestripe

import "slices"

// Redelivery says which events are delivered again: those named, and those that
// happened at Since (Unix seconds) or later. Without both it is every event that is
// kept. Only endpoints that missed an event get it, unless All is set.
type Redelivery struct {
	Events []string `json:"events,omitempty"`
	Since  int64    `json:"since,omitempty"`
	All    bool     `json:"all,omitempty"`
}

// Redeliver delivers events again, as a person can order at Stripe, and returns
// how many deliveries it has begun. No fault strikes them.
func (s *Server) Redeliver(wanted Redelivery) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	begun := 0
	for _, e := range s.state.events.list {
		if !wanted.names(e) {
			continue
		}
		endpoints := e.Missed
		if wanted.All {
			endpoints = s.hooksFor(e.Type)
		}
		for _, endpoint := range endpoints {
			if s.hook.again(e, endpoint) {
				begun++
			}
		}
	}
	return begun
}

func (w Redelivery) names(e *event) bool {
	if slices.Contains(w.Events, e.ID) {
		return true
	}
	return len(w.Events) == 0 && int64(e.Created) >= w.Since
}

// again starts a delivery unless one is under way.
func (d *dispatcher) again(e *event, endpoint string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := e.ID + " " + endpoint
	if d.closed || d.under[name] {
		return false
	}
	d.under[name] = true
	d.begin(e, endpoint, treatment{})
	return true
}
