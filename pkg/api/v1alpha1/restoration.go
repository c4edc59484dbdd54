package v1alpha1

import "time"

// Restoration is what a rollback is to have put back once it is done.
type Restoration struct {
	// Workloads are those whose pods are to have their sidecars again; of these, pods
	// that were made before Since lacked theirs for a reason of their own.
	Workloads []ObjectReference `json:"workloads,omitempty"`
	Since     *time.Time        `json:"since,omitempty"`
	// Evicted are those of Workloads whose templates no run has written.
	Evicted []ObjectReference `json:"evicted,omitempty"`
	// Created is what the runs that are undone have made, in whichever namespace.
	Created []ObjectReference `json:"created,omitempty"`
	// Unlabelled is true where the namespace is not to be labelled ambient any more.
	Unlabelled bool `json:"unlabelled,omitempty"`
}
