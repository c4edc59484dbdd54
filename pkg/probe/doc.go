// Package probe proves by traffic what policies promise: it draws calls from the access
// model, has short-lived pods try them, and judges what became of them. What is drawn
// and judged is a function of data; runner.go and canary.go have the clients.
package probe
