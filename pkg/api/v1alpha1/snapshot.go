package v1alpha1

import "time"

// MeshSnapshot is a mesh as it was at one instant, for work without a cluster
// and for reports of bugs. It holds no Secrets, no values of environment
// variables and no command lines.
type MeshSnapshot struct {
	TypeMeta    `json:",inline"`
	ToolVersion string    `json:"toolVersion"`
	Taken       time.Time `json:"taken"`
	// KubernetesVersion is the API server's, as it states it.
	KubernetesVersion string `json:"kubernetesVersion"`
	// Namespace is the one that was read in detail; empty where all were.
	Namespace string `json:"namespace,omitempty"`
	// Coverage says which kinds were read. What is not among them is not known
	// to be absent.
	Coverage []KindCoverage `json:"coverage"`
	// HostNetwork holds the UIDs of the pods on their node's network that are
	// among the items by metadata only.
	HostNetwork []string `json:"hostNetwork,omitempty"`
	// Items are the objects, by kind, namespace and name. Pods without a spec
	// were read by metadata only.
	Items []map[string]any `json:"items"`
}

// KindCoverage says how much of a kind, or of a part of one, a snapshot holds.
type KindCoverage struct {
	Key string `json:"key"`
	// State is read, absent (the kind is not installed), forbidden, failed or
	// unasked.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}
