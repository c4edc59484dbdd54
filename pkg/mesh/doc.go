// Package mesh is the mesh as data. A Snapshot holds what decisions are made
// from, read once; Evidence holds what the data plane itself says. Everything
// in this package but the loaders (cluster.go) is a pure function of them.
package mesh
