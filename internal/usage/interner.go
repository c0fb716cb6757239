package usage

import "hash/maphash"

// interner shares strings that come again and again, without ever growing: each
// has one slot by its hash, and the next one there takes its place. What stands
// in a slot has been checked.
type interner struct {
	seed  maphash.Seed
	slots []string
}

// newInterner returns an interner with a power of two of slots.
func newInterner(size int) *interner {
	return &interner{maphash.MakeSeed(), make([]string, size)}
}

// take returns text as a string, and what check finds wrong with it.
func (in *interner) take(text []byte, check func([]byte) string) (s, wrong string) {
	slot := &in.slots[maphash.Bytes(in.seed, text)&uint64(len(in.slots)-1)]
	if len(text) > 0 && *slot == string(text) {
		return *slot, ""
	}
	s = string(text)
	if wrong = check(text); wrong == "" {
		*slot = s
	}
	return s, wrong
}
