// Package access decides who may call whom, by which path: the model of what
// sidecars, ztunnel and waypoints enforce. It turns the constants of the
// policies into a finite set of calls, one of each class that the policies can
// tell apart, and compares how two states of the mesh decide them.
//
// What is not modelled: where in a request a RequestAuthentication looks for a
// token; TLS settings of DestinationRules; listeners of Sidecar resources;
// ServiceEntries whose endpoints are addresses of pods, which Server.Unknown names;
// canary waypoints, other networks and other clusters; waypoints that are not
// Envoy; EnvoyFilters and Wasm plugins; settings of istiod that change how policies
// are enforced, all of which are off unless somebody sets them (PILOT_AUTO_ALLOW_WAYPOINT_POLICY and the like).
//
// Everything here is a function of data: it knows no client and no clock.
package access
