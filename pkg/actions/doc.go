// Package actions carries out the steps of a plan, waits at their gates and
// records what it did. It never prints: whoever runs it is told by callbacks.
package actions
