// Package faultpoint lets a test kill, crash or delay a program at a chosen
// moment of a chosen activity. Only programs built with the tag faultpoints can:
// in all others its three hooks do nothing, and none of its machinery is linked.
package faultpoint
