package fakestripe

import "crypto/rand"

const idAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newID returns prefix_ and 24 random characters: 142 bits, so that ids stay
// unique across restarts without a stored counter.
func newID(prefix string) string {
	id := make([]byte, 0, len(prefix)+25)
	id = append(append(id, prefix...), '_')
	return string(appendRandom(id, idAlphabet, 24))
}

func appendRandom(to []byte, alphabet string, n int) []byte {
	random := make([]byte, n)
	_, _ = rand.Read(random) // never fails
	for _, b := range random {
		to = append(to, alphabet[int(b)%len(alphabet)])
	}
	return to
}
