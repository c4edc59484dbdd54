package v1alpha1

// DataPlane is what carries the traffic of a namespace's pods.
type DataPlane string

// A namespace is mixed when some of its pods have a sidecar and others are
// captured by ztunnel. Pods without either do not count, unless there are no
// others.
const (
	DataPlaneSidecar DataPlane = "sidecar"
	DataPlaneAmbient DataPlane = "ambient"
	DataPlaneMixed   DataPlane = "mixed"
	DataPlaneNone    DataPlane = "none"
)

// PodCounts counts the pods of a namespace that are not finished, by what
// carries their traffic.
type PodCounts struct {
	Sidecar int `json:"sidecar"`
	Ambient int `json:"ambient"`
	// Gateway counts gateway and waypoint pods, which are proxies themselves.
	Gateway int `json:"gateway"`
	// None counts pods outside the mesh.
	None int `json:"none"`
}

// Total is the number of pods counted.
func (c PodCounts) Total() int { return c.Sidecar + c.Ambient + c.Gateway + c.None }

// WaypointStatus is a waypoint as a namespace uses or holds it.
type WaypointStatus struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Exists is false where a label names a Gateway that is not there.
	Exists bool `json:"exists"`
	// Programmed is the condition of that name on the Gateway.
	Programmed bool `json:"programmed"`
	// ReadyEndpoints counts ready addresses behind the waypoint's Service. A
	// Programmed waypoint without any makes traffic fail.
	ReadyEndpoints int `json:"readyEndpoints"`
	// Used is true where a label anywhere in the mesh names it.
	Used bool `json:"used"`
}

// Ready says whether traffic sent to the waypoint would be answered.
func (w WaypointStatus) Ready() bool {
	return w.Exists && w.Programmed && w.ReadyEndpoints > 0
}

// NamespaceStatus is where one namespace stands between the two modes.
type NamespaceStatus struct {
	Name      string    `json:"name"`
	DataPlane DataPlane `json:"dataPlane"`
	// Injection is the label that asks for sidecars: "enabled",
	// "rev=REVISION", "disabled", "default" where the mesh injects unlabelled
	// namespaces, or empty.
	Injection string `json:"injection,omitempty"`
	// DataplaneMode is the namespace's label istio.io/dataplane-mode.
	DataplaneMode string           `json:"dataplaneMode,omitempty"`
	Waypoints     []WaypointStatus `json:"waypoints,omitempty"`
	Pods          PodCounts        `json:"pods"`
	// RestartsDue counts pods that a restart now would move to another mode
	// than the one they run in; nil where it is not known what injects pods.
	RestartsDue *int `json:"restartsDue"`
	// Phase is the last phase of an enrolment that leaves nothing to be done;
	// empty where the namespace is on sidecars or outside the mesh.
	Phase Phase `json:"phase,omitempty"`
	// Blockers and Warnings count the findings that stand in the way of
	// enrolling the namespace, or announce something. They are left out where a
	// namespace has nothing to do with the mesh.
	Blockers int `json:"blockers"`
	Warnings int `json:"warnings"`
	// Hidden counts findings that --skip or their owners' annotations took out
	// of the other two.
	Hidden int `json:"hidden,omitempty"`
	// Drift are findings about what earlier enrolments left here, of which nobody
	// knows who does not look at the gates: they count among Warnings, too.
	Drift []CheckResult `json:"drift,omitempty"`
	// Workloads and Services are given for a single namespace.
	Workloads []WorkloadStatus `json:"workloads,omitempty"`
	Services  []ServiceStatus  `json:"services,omitempty"`
	// Resources are what the namespace's proxies take; nil where they were not asked for.
	Resources *ResourceReport `json:"resources,omitempty"`
	// Record is the newest migration recorded for the namespace, if any.
	Record *RecordSummary `json:"record,omitempty"`
}

// WorkloadStatus is where one workload stands.
type WorkloadStatus struct {
	Object    ObjectReference `json:"object"`
	DataPlane DataPlane       `json:"dataPlane"`
	Pods      PodCounts       `json:"pods"`
	// Enrolment is what enrolling the namespace means for it: move, pin (it is
	// kept out of ambient mode) or stay.
	Enrolment   string `json:"enrolment"`
	RestartsDue *int   `json:"restartsDue"`
	// Rollout says what its rollout waits for; empty where it is complete.
	Rollout string `json:"rollout,omitempty"`
}

// ServiceStatus is how traffic to one Service is carried.
type ServiceStatus struct {
	Name string `json:"name"`
	// Type is the Service's type, or Headless.
	Type string `json:"type"`
	// DataPlane is that of the pods it selects.
	DataPlane DataPlane `json:"dataPlane"`
	Pods      PodCounts `json:"pods"`
	// Waypoint is the one that its traffic goes through; nil where none does.
	Waypoint *WaypointStatus `json:"waypoint,omitempty"`
	// WaypointFrom is the object whose label names the waypoint: Service or
	// Namespace.
	WaypointFrom string `json:"waypointFrom,omitempty"`
}

// RecordSummary names a MigrationRecord and says how it ended.
type RecordSummary struct {
	ID        string    `json:"id"`
	Operation Operation `json:"operation"`
	State     RunState  `json:"state"`
	// TakenOff are the Services that rollbacks have taken off their waypoint, and that
	// no run has given one since.
	TakenOff []string `json:"takenOff,omitempty"`
}

// MeshStatus is where every namespace of the mesh stands.
type MeshStatus struct {
	TypeMeta   `json:",inline"`
	Namespaces []NamespaceStatus `json:"namespaces"`
	// Unrecognized counts objects of kinds that mean nothing here, by kind and
	// group. There are some only where files were read.
	Unrecognized map[string]int `json:"unrecognized,omitempty"`
	// Unknown names what could not be read and is therefore missing here.
	Unknown []string `json:"unknown,omitempty"`
}
