package main

import (
	"errors"
	"fmt"
)

// shownProblems is how many lines at fault a message lists.
const shownProblems = 10

// problems collects what is wrong with a file that is taken as a whole or not
// at all.
type problems struct {
	lines []error
	more  int
}

// add notes what is wrong with a line.
func (p *problems) add(line int, err error) {
	if len(p.lines) == shownProblems {
		p.more++
		return
	}
	p.lines = append(p.lines, fmt.Errorf("line %d: %w", line, err))
}

// err is nil where nothing was wrong.
func (p *problems) err() error {
	if p.more > 0 {
		return errors.Join(append(p.lines, fmt.Errorf("and %d more problems", p.more))...)
	}
	return errors.Join(p.lines...)
}
