package fakestripe

import "encoding/json"

const (
	clockCustomers = 3
	clockLeap      = 2 * 366 * 24 * 60 * 60 // two years: the furthest one advance may go
	clockLife      = 30 * 24 * 60 * 60
)

type testClock struct {
	ID           string  `json:"id"`
	Object       string  `json:"object"`
	Created      instant `json:"created"`
	DeletesAfter instant `json:"deletes_after"`
	FrozenTime   instant `json:"frozen_time"`
	Livemode     bool    `json:"livemode"`
	Name         text    `json:"name"`
	Status       string  `json:"status"`
}

func (c *testClock) kind() string  { return "test_helpers.test_clock" }
func (c *testClock) key() string   { return c.ID }
func (c *testClock) owner() string { return "" }

func testClockRoutes() []route {
	const clocks = "/v1/test_helpers/test_clocks"
	return []route{
		post(clocks, createClock, fields{"frozen_time": required(integer()), "name": limited(300)}),
		get(clocks, listClocks, pageFields()),
		get(clocks+"/{id}", retrieveClock, fields{}),
		post(clocks+"/{id}/advance", advanceClock, fields{"frozen_time": required(integer())}),
		del(clocks+"/{id}", deleteClock),
	}
}

func createClock(t *tx, r *request) (any, *apiError) {
	now := instant(t.wall.Unix())
	c := &testClock{
		ID: newID("clock"), Object: "test_helpers.test_clock", Created: now, DeletesAfter: now + clockLife,
		FrozenTime: instant(r.integer("frozen_time")), Name: text(r.text("name")), Status: "ready",
	}
	t.put(c)
	t.emit("test_helpers.test_clock.created", c)
	return c, nil
}

func (t *tx) clock(r *request) (*testClock, *apiError) {
	if c, ok := t.clocks.get(r.id()); ok {
		return c, nil
	}
	return nil, missing("test clock", r.id(), "test_clock")
}

func retrieveClock(t *tx, r *request) (any, *apiError) { return t.clock(r) }

func listClocks(t *tx, r *request) (any, *apiError) {
	return where(t, r, t.clocks, "", func(*testClock) bool { return true })
}

// advanceClock lets everything happen that is due by then. Stripe answers first
// and advances after; here it is done by the time of the answer, which still
// says advancing, so that callers must look again as they would have to.
func advanceClock(t *tx, r *request) (any, *apiError) {
	c, err := t.clock(r)
	if err != nil {
		return nil, err
	}
	to := instant(r.integer("frozen_time"))
	switch {
	case to <= c.FrozenTime:
		return nil, invalid("frozen_time", "", "Test clocks can only be advanced forward: frozen_time must be after "+
			"the clock's current time, %d.", c.FrozenTime)
	case to > c.FrozenTime+clockLeap:
		return nil, invalid("frozen_time", "", "A test clock cannot be advanced by more than two years at once.")
	}
	c.Status = "advancing"
	t.emit("test_helpers.test_clock.advancing", c)
	answer := t.render(c)
	c.FrozenTime, c.Status = to, "ready"
	t.put(c)
	t.settleDue()
	t.emit("test_helpers.test_clock.ready", c)
	return advancing(answer, to), nil
}

// advancing is the answer to an advance: under way, with the time to come.
func advancing(answer json.RawMessage, to instant) any {
	clock := decode(answer).(map[string]any)
	clock["frozen_time"] = to
	return clock
}

func deleteClock(t *tx, r *request) (any, *apiError) {
	c, err := t.clock(r)
	if err != nil {
		return nil, err
	}
	for _, one := range t.customers.newest(c.ID) {
		if !one.Deleted {
			t.remove(one)
		}
	}
	t.drop(c)
	t.emit("test_helpers.test_clock.deleted", c)
	return deleted{ID: c.ID, Object: c.Object, Deleted: true}, nil
}

// joinClock puts a new customer on a clock, which takes three of them.
func (t *tx) joinClock(c *customer, clockID string) *apiError {
	if _, ok := t.clocks.get(clockID); !ok {
		return badReference("test clock", clockID, "test_clock")
	}
	count := 0
	for _, other := range t.customers.newest(clockID) {
		if !other.Deleted {
			count++
		}
	}
	if count >= clockCustomers {
		return invalid("test_clock", "", "A test clock can have at most %d customers.", clockCustomers)
	}
	c.TestClock = text(clockID)
	return nil
}
