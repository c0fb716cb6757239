// Package orchestration sees to it that workflows run and hear of news. It owns the
// relay, which signals the workflows that the outbox names, and the starting of
// workflows that the database's facts demand and that do not run. It owns neither the
// facts nor what a workflow does with them.
package orchestration
