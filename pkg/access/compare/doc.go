// Package compare finds the calls that the stages of a migration decide differently
// from how they were decided before it, by deciding one call of each class that the
// policies can tell apart, from every kind of caller, by every path.
package compare
