// Package pricebook reads a price book's YAML file into billing.PriceBook,
// naming the line and field of what is wrong and what is accepted. It owns the
// price books that ship with the product.
package pricebook

import (
	"embed"
	"io/fs"
	"path"
	"strings"

	"github.com/arrears-dev/arrears/internal/billing"
)

//go:embed books/*.yaml
var books embed.FS

// DefaultName is the name of the default price book.
const DefaultName = "anthropic-2026-01"

// File is a price book's file.
type File struct {
	Name string // the book's, and the file's without ".yaml"
	YAML []byte
}

// Shipped lists the price books that ship with the product, by name.
func Shipped() []File {
	names, err := fs.Glob(books, "books/*.yaml")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	files := make([]File, 0, len(names))
	for _, name := range names {
		yaml, err := books.ReadFile(name)
		if err != nil {
			panic(err) // the file is in the binary
		}
		files = append(files, File{strings.TrimSuffix(path.Base(name), ".yaml"), yaml})
	}
	return files
}

// Default returns the default price book, a copy of its own for each caller.
func Default() *billing.PriceBook {
	for _, file := range Shipped() {
		if file.Name != DefaultName {
			continue
		}
		book, err := Parse(file.YAML)
		if err != nil {
			panic("price book " + DefaultName + ": " + err.Error()) // a test reads every shipped book
		}
		return book
	}
	panic("price book " + DefaultName + " does not ship")
}
