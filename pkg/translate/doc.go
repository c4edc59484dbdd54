// Package translate turns what sidecars do for a namespace into what does the same
// in ambient mode: waypoints, policies attached to them, and what the policies that
// stay behind need beside them. It says what cannot be carried over.
//
// Everything here is a function of a snapshot of the mesh.
package translate
