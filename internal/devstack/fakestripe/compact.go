package fakestripe

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
)

// compact writes the state as it is beside the file and then over it, so that a
// kill at any moment leaves the old file or the new one.
func (s *state) compact(path string) error {
	next, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	err = errors.Join(s.writeTo(next), next.Sync(), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return nil
}

func (s *state) writeTo(file *os.File) error {
	w := bufio.NewWriter(file)
	write := func(e entry) { _, _ = w.Write(e.line()) } // Flush reports the first error
	for _, shelf := range s.shelves {
		shelf.each(func(o object) { write(entry{Put: []stored{storedOf(o)}}) })
	}
	for _, e := range s.events.list {
		write(entry{Event: []logged{loggedOf(e)}})
	}
	for _, reply := range s.replies.order {
		write(entry{Reply: reply})
	}
	return w.Flush()
}

// rebuild makes the indexes that the journal does not hold.
func (s *state) rebuild() {
	s.items.each(func(o object) {
		if item := o.(*invoiceItem); item.Invoice != "" {
			s.lines[string(item.Invoice)] = append(s.lines[string(item.Invoice)], item)
		}
	})
	for _, lines := range s.lines {
		sortLines(lines)
	}
	for _, shelf := range s.shelves {
		shelf.each(s.put)
	}
	s.invoices.each(func(o object) {
		inv := o.(*invoice)
		s.search.known[inv.ID] = searchable(inv)
	})
}
