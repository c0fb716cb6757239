package fakestripe

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// WebhookFaultKind is what goes wrong with a delivery.
type WebhookFaultKind string

// The faults of deliveries that can be ordered.
const (
	// WebhookDuplicate delivers Copies times (2 by default) at once.
	WebhookDuplicate WebhookFaultKind = "duplicate"
	// WebhookDelay delivers MS milliseconds later, so that others overtake it.
	WebhookDelay WebhookFaultKind = "delay"
	// WebhookDrop gives the delivery up before its first try. The event stays
	// readable, pending, and can be redelivered.
	WebhookDrop WebhookFaultKind = "drop"
	// WebhookShuffle gathers Times deliveries, or those of MS milliseconds (2,000
	// by default), and makes them one after the other in an order drawn by Seed.
	WebhookShuffle WebhookFaultKind = "shuffle"
	// WebhookRandom draws by Seed, for each delivery, one of Kinds (of all but
	// shuffle and huge by default), or none.
	WebhookRandom WebhookFaultKind = "random"
)

// The forgeries: a delivery that must be refused goes out, once, before the true one.
const (
	ForgeUnsigned     WebhookFaultKind = "forge_unsigned"     // no signature
	ForgeSecret       WebhookFaultKind = "forge_secret"       // signed with another secret
	ForgeOld          WebhookFaultKind = "forge_old"          // signed 301 s ago
	ForgeFuture       WebhookFaultKind = "forge_future"       // signed an hour ahead
	ForgeV0           WebhookFaultKind = "forge_v0"           // only a v0 signature
	ForgeAltered      WebhookFaultKind = "forge_altered"      // one byte changed after it was signed
	ForgeReserialized WebhookFaultKind = "forge_reserialized" // the same JSON in other bytes
	ForgeLivemode     WebhookFaultKind = "forge_livemode"     // rightly signed, of the other mode
)

// Unrelated deliveries: one that is rightly signed, of an event of its own, goes out once
// before the true one. Its receiver must take it and do nothing.
const (
	StrangeType     WebhookFaultKind = "strange_type"     // of a type that nobody knows
	StrangeObject   WebhookFaultKind = "strange_object"   // about an object that nobody knows
	StrangeAccount  WebhookFaultKind = "strange_account"  // of another account
	StrangeCustomer WebhookFaultKind = "strange_customer" // about this invoice, of another customer
)

// WebhookHuge sends 10 MB, rightly signed, before the true delivery.
const WebhookHuge WebhookFaultKind = "huge"

// Unrelated lists the kinds that send what is rightly signed and no news.
func Unrelated() []WebhookFaultKind {
	return []WebhookFaultKind{StrangeType, StrangeObject, StrangeAccount, StrangeCustomer}
}

// WebhookFaultKinds are all kinds of faults of deliveries.
func WebhookFaultKinds() []WebhookFaultKind {
	return append(drawable(), WebhookShuffle, WebhookRandom, WebhookHuge)
}

// extra reports whether the kind sends something beside the true delivery.
func (k WebhookFaultKind) extra() bool {
	return k == WebhookHuge || slices.Contains(Forgeries(), k) || slices.Contains(Unrelated(), k)
}

// drawable are the kinds that concern one delivery alone.
func drawable() []WebhookFaultKind {
	return slices.Concat([]WebhookFaultKind{WebhookDuplicate, WebhookDelay, WebhookDrop}, Forgeries(), Unrelated())
}

// Forgeries are the kinds that send what must be refused.
func Forgeries() []WebhookFaultKind {
	return []WebhookFaultKind{
		ForgeUnsigned, ForgeSecret, ForgeOld, ForgeFuture, ForgeV0, ForgeAltered, ForgeReserialized, ForgeLivemode,
	}
}

// WebhookFault strikes deliveries of events of a Type ("" is any; invoice.* is all
// of invoices). The Nth match from its order on is struck first (0 and 1: the
// next), and Times in all (0: once; below 0: always).
type WebhookFault struct {
	Kind   WebhookFaultKind   `json:"kind"`
	Type   string             `json:"type,omitempty"`
	Nth    int                `json:"nth,omitempty"`
	Times  int                `json:"times,omitempty"`
	MS     int                `json:"ms,omitempty"`
	Copies int                `json:"copies,omitempty"`
	Seed   uint64             `json:"seed,omitempty"`
	Kinds  []WebhookFaultKind `json:"kinds,omitempty"`
}

// Check says what is wrong with a fault, and what is accepted.
func (f WebhookFault) Check() error {
	if !slices.Contains(WebhookFaultKinds(), f.Kind) {
		return fmt.Errorf("kind %q; accepted: %s", f.Kind, listed(WebhookFaultKinds()))
	}
	for _, kind := range f.Kinds {
		if !slices.Contains(drawable(), kind) {
			return fmt.Errorf("kinds %q; accepted: %s", kind, listed(drawable()))
		}
	}
	if len(f.Kinds) > 0 && f.Kind != WebhookRandom {
		return fmt.Errorf("kinds with kind %q; accepted: kinds with kind %q", f.Kind, WebhookRandom)
	}
	if f.Nth < 0 || f.MS < 0 || f.Copies < 0 {
		return fmt.Errorf("nth %d, ms %d, copies %d; accepted: 0 and above", f.Nth, f.MS, f.Copies)
	}
	return nil
}

// treatment is what happens to one delivery.
type treatment struct {
	kind   WebhookFaultKind // "" = nothing goes wrong
	copies int
	delay  time.Duration
	batch  *batch
}

// webhookPlan decides for each delivery, in the order in which events happened.
type webhookPlan struct {
	mu     sync.Mutex
	faults []*orderedWebhook
}

// OrderedWebhook is a fault of deliveries with what it has done so far.
type OrderedWebhook struct {
	WebhookFault
	Seen   int `json:"seen"`
	Struck int `json:"struck"`
}

type orderedWebhook struct {
	OrderedWebhook
	random *rand.Rand
	batch  *batch
}

// InjectWebhooks orders faults of deliveries, after those already ordered. It
// panics on a fault that can never strike.
func (s *Server) InjectWebhooks(faults ...WebhookFault) {
	for _, f := range faults {
		if err := f.Check(); err != nil {
			panic("fakestripe: " + err.Error())
		}
	}
	p := s.hook.plan
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range faults {
		p.faults = append(p.faults, &orderedWebhook{
			OrderedWebhook: OrderedWebhook{WebhookFault: f},
			random:         rand.New(rand.NewPCG(f.Seed, 0)),
		})
	}
}

// ClearWebhooks ends every fault of deliveries and forgets those made. What was
// gathered to be shuffled goes out.
func (s *Server) ClearWebhooks() {
	p := s.hook.plan
	p.mu.Lock()
	for _, f := range p.faults {
		f.batch.release()
	}
	p.faults = nil
	p.mu.Unlock()
	s.hook.forget()
}

func (p *webhookPlan) shown() []OrderedWebhook {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []OrderedWebhook{}
	for _, f := range p.faults {
		all = append(all, f.OrderedWebhook)
	}
	return all
}

// strike decides what happens to a delivery of an event of this type.
func (p *webhookPlan) strike(eventType string) treatment {
	p.mu.Lock()
	defer p.mu.Unlock()
	var struck *orderedWebhook
	for _, f := range p.faults {
		if f.Type != "" && !subscribes([]string{f.Type}, eventType) {
			continue
		}
		if f.Seen++; struck == nil && f.Seen >= f.Nth {
			struck = f
		}
	}
	if struck == nil {
		return treatment{}
	}
	struck.Struck++
	treated := struck.treat()
	if struck.Times >= 0 && struck.Struck >= max(1, struck.Times) {
		p.faults = slices.DeleteFunc(p.faults, func(f *orderedWebhook) bool { return f == struck })
	}
	return treated
}

func (f *orderedWebhook) treat() treatment {
	t := treatment{kind: f.Kind, copies: f.Copies, delay: time.Duration(f.MS) * time.Millisecond}
	switch f.Kind {
	case WebhookRandom:
		kinds := f.Kinds
		if len(kinds) == 0 {
			kinds = drawable()
		}
		drawn, late := f.random.IntN(len(kinds)+1), f.random.IntN(max(f.MS, 200))
		if drawn == len(kinds) {
			return treatment{}
		}
		t.kind, t.delay = kinds[drawn], time.Duration(late)*time.Millisecond
	case WebhookShuffle:
		if !f.batch.join() {
			f.batch = newBatch(f.random, f.Times, t.delay)
			f.batch.join()
		}
		t.batch = f.batch
	default:
	}
	return t
}

// gathering is how long a shuffle waits for more where its order does not say.
const gathering = 2 * time.Second

// batch gathers deliveries, then makes their first tries one after the other in an
// order drawn by its seed.
type batch struct {
	mu     sync.Mutex
	random *rand.Rand
	want   int // 0 = as many as come in time
	joined int
	jobs   []func(tried func())
	over   bool
}

func newBatch(random *rand.Rand, want int, wait time.Duration) *batch {
	if wait == 0 {
		wait = gathering
	}
	b := &batch{random: random, want: max(0, want)}
	time.AfterFunc(wait, b.release)
	return b
}

// join takes a place, if there is one left.
func (b *batch) join() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over || (b.want > 0 && b.joined == b.want) {
		return false
	}
	b.joined++
	return true
}

// add hands in the delivery of a place that was taken. One that comes too late
// goes out by itself.
func (b *batch) add(job func(tried func())) {
	b.mu.Lock()
	late := b.over
	if !late {
		b.jobs = append(b.jobs, job)
	}
	full := b.want > 0 && len(b.jobs) == b.want
	b.mu.Unlock()
	switch {
	case late:
		go job(func() {})
	case full:
		b.release()
	}
}

// release lets the deliveries go.
func (b *batch) release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	jobs := b.jobs
	b.jobs, b.over = nil, true
	b.random.Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })
	b.mu.Unlock()
	go func() {
		for _, job := range jobs {
			tried := make(chan struct{})
			go job(sync.OnceFunc(func() { close(tried) }))
			<-tried
		}
	}()
}
