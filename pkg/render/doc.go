// Package render shows documents to people and programs: tables, diffs,
// progress, JSON and YAML. It decides nothing.
package render

// Width is how many columns output for people keeps to.
const Width = 80
