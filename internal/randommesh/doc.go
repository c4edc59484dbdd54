// Package randommesh draws meshes from seeds, for tests that want what nobody
// thought of: a namespace with sidecars, callers in another one, Services of many
// kinds in front of few workloads, and policies of all shapes, with constants from
// so small an alphabet that they concern one another.
//
// What is common is drawn often, and every shape there is among the first meshes.
package randommesh
