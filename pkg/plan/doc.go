// Package plan turns a snapshot of the mesh into ordered steps, as data: of an
// enrolment, or of the rollback of recorded runs. It knows no client and no
// clock.
package plan
