// Package access decides who may call whom, by which path: the model of what
// sidecars, ztunnel and waypoints enforce. It turns the constants of the
// policies into a finite set of calls, one of each class that the policies can
// tell apart, and compares how two states of the mesh decide them.
//
// Everything here is a function of data: it knows no client and no clock.
package access
