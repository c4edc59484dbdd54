// Package oracle decides calls from what the running istiod serves over xDS,
// the way the proxies that istiod serves would decide them. It knows nothing of
// the plugin's own model of access, so that the two can be held against each
// other.
//
// It asks istiod as the sidecars, waypoints and gateways of a mesh and as a
// ztunnel, keeps the answers as a State, and evaluates Envoy's filters and
// ztunnel's policies itself. Whatever it does not understand is an error, never
// a guess.
package oracle
