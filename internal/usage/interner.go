package usage

import (
	"bytes"
	"hash/maphash"

	"github.com/arrears-dev/arrears/internal/billing"
)

// interner shares strings that come again and again, without ever growing: each
// has one slot by its hash, and the next one there takes its place. What stands
// in a slot has been normalized and checked.
type interner struct {
	seed  maphash.Seed
	slots []interned
}

// interned is a text as it was sent and its normal form, which are one and the same
// string unless they differ.
type interned struct{ sent, normal string }

// newInterner returns an interner with a power of two of slots.
func newInterner(size int) *interner {
	return &interner{maphash.MakeSeed(), make([]interned, size)}
}

// take returns the normal form of text as a string, and what check finds wrong
// with it. A text that is known costs one look at its slot.
func (in *interner) take(text []byte, check func([]byte) string) (s, wrong string) {
	slot := &in.slots[maphash.Bytes(in.seed, text)&uint64(len(in.slots)-1)]
	if len(text) > 0 && slot.sent == string(text) {
		return slot.normal, ""
	}
	normal := billing.ComposeID(text)
	s = string(normal)
	if wrong = check(normal); wrong != "" {
		return s, wrong
	}
	*slot = interned{s, s}
	if !bytes.Equal(normal, text) {
		slot.sent = string(text)
	}
	return s, ""
}
