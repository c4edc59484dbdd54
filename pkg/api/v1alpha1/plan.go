package v1alpha1

import "time"

// Operation is the direction of a plan or a run.
type Operation string

// Enroll moves a namespace to ambient mode, simplify deletes what that has replaced,
// rollback undoes such runs.
const (
	OperationEnroll   Operation = "enroll"
	OperationSimplify Operation = "simplify"
	OperationRollback Operation = "rollback"
)

// Phase is one part of the safe order of a migration. docs/order.md explains
// it; the order of the constants is the order of an enrolment.
type Phase string

// The phases of an enrolment, in order.
const (
	PhaseRefreshSidecars   Phase = "refresh-sidecars"
	PhaseDeployWaypoints   Phase = "deploy-waypoints"
	PhaseMigratePolicies   Phase = "migrate-policies"
	PhasePin               Phase = "pin"
	PhaseActivateWaypoints Phase = "activate-waypoints"
	PhaseEnableAmbient     Phase = "enable-ambient"
	PhaseRestartWorkloads  Phase = "restart-workloads"
	PhaseSettlePolicies    Phase = "settle-policies"
	PhaseDisableInjection  Phase = "disable-injection"
	PhaseVerify            Phase = "verify"
	PhaseSimplify          Phase = "simplify"
)

// The phases of a rollback, in order.
const (
	PhaseRestoreReplaced     Phase = "restore-replaced"
	PhaseUnsettlePolicies    Phase = "unsettle-policies"
	PhaseRestoreInjection    Phase = "restore-injection"
	PhaseRestoreWorkloads    Phase = "restore-workloads"
	PhaseReplacePods         Phase = "replace-pods"
	PhaseDisableAmbient      Phase = "disable-ambient"
	PhaseDeactivateWaypoints Phase = "deactivate-waypoints"
	PhaseRestorePolicies     Phase = "restore-policies"
	PhaseRemoveWaypoints     Phase = "remove-waypoints"
	PhaseUnpin               Phase = "unpin"
)

// MigrationPlan is what a run would do, in order.
type MigrationPlan struct {
	TypeMeta  `json:",inline"`
	Operation Operation `json:"operation"`
	Namespace string    `json:"namespace"`
	// Blocked is true when a gate fails or could not be seen: the steps are
	// then what would be done, and nothing may be.
	Blocked  bool     `json:"blocked"`
	Overview Overview `json:"overview"`
	// Access says which calls the steps decide differently; nil where they were
	// not compared.
	Access *AccessReport `json:"access,omitempty"`
	// Options are what was chosen about an enrolment.
	Options *PlanOptions `json:"options,omitempty"`
	// Accepted are the findings that were accepted, as they were named.
	Accepted []string      `json:"accepted,omitempty"`
	Gates    []CheckResult `json:"gates"`
	Summary  Summary       `json:"summary"`
	// Withheld is true where the steps are left out because the plan is
	// blocked and it was not asked for them all the same.
	Withheld bool   `json:"withheld,omitempty"`
	Steps    []Step `json:"steps"`
	// Objects are those that the steps change or delete, as the plan found them:
	// without what the API server manages and what nobody should read. A plan that
	// is carried out does not have them; its record has them in whole.
	Objects []BeforeImage `json:"objects,omitempty"`
	// Handover is what the pods of an enrolment rely on once they have lost their
	// sidecars. Steps that require GateHandoverHolds want it to be as the steps
	// before have left it.
	Handover *Handover `json:"handover,omitempty"`
	// Kept names what a rollback leaves alone because somebody else has
	// changed it since, and what a simplification does not delete.
	Kept []KeptField `json:"kept,omitempty"`
	// Gone names what a rollback would put back, if somebody had not deleted
	// it.
	Gone []ObjectReference `json:"gone,omitempty"`
	// Undoes names the runs that a rollback undoes, newest first.
	Undoes []string `json:"undoes,omitempty"`
	// To is the phase of the enrolment that a rollback goes back to: what was done
	// in it and before stays. Empty where the runs are undone whole.
	To Phase `json:"to,omitempty"`
	// Service is the only one that a rollback takes off its waypoint, as service/cart,
	// and Part what of the runs is undone with that. Empty where they are undone whole.
	Service string            `json:"service,omitempty"`
	Part    []ObjectReference `json:"part,omitempty"`
	// Unrecorded is true for a rollback that goes by what is there now, since no
	// record says what was there before.
	Unrecorded bool `json:"unrecorded,omitempty"`
}

// PlanOptions are what was chosen about an enrolment, but for what was accepted:
// with them the same plan can be made again. Each is named like its flag, and empty
// where that was left as it is.
type PlanOptions struct {
	WaypointScope     string   `json:"waypointScope,omitempty"`
	WaypointSkip      []string `json:"waypointSkip,omitempty"`
	WaypointAdd       []string `json:"waypointAdd,omitempty"`
	Waypoint          string   `json:"waypoint,omitempty"`
	WaypointNamespace string   `json:"waypointNamespace,omitempty"`
	WaypointReplicas  int32    `json:"waypointReplicas,omitempty"`
	MixedCallers      string   `json:"mixedCallers,omitempty"`
	AllowEnvoyFilter  bool     `json:"allowEnvoyFilter,omitempty"`
	IncludeNamespaces []string `json:"includeNamespaces,omitempty"`
	Cordon            bool     `json:"cordon,omitempty"`
	ResumePaused      bool     `json:"resumePaused,omitempty"`
	// MaxParallelRestarts is how many workloads are restarted at the same time; 0 is
	// one after another.
	MaxParallelRestarts int `json:"maxParallelRestarts,omitempty"`
	// Strategy is namespace where pods are moved by the namespace's labels alone.
	Strategy string `json:"strategy,omitempty"`
	// Workload is the only one that is moved, as deployment/cart.
	Workload string `json:"workload,omitempty"`
	// Service is the only one that gets a waypoint, as service/cart.
	Service string `json:"service,omitempty"`
	// TakenOff are the Services that a rollback has taken off their waypoint and that
	// stay without one.
	TakenOff []string `json:"takenOff,omitempty"`
	Simplify bool     `json:"simplify,omitempty"`
	// CleanTemplates is true where a simplification restarts workloads to take annotations
	// out of their templates that only sidecars read.
	CleanTemplates bool `json:"cleanTemplates,omitempty"`
	// RestartedAt is what templates get that are restarted to have newer sidecars; empty
	// where none is.
	RestartedAt string `json:"restartedAt,omitempty"`
	// From and Until are the first and the last phase whose steps the plan holds;
	// empty where it holds all.
	From  Phase `json:"from,omitempty"`
	Until Phase `json:"until,omitempty"`
}

// Overview is a plan in figures.
type Overview struct {
	// Creates, Changes and Deletes count objects by kind. One that a plan
	// creates and changes counts as created, one that it changes and deletes as
	// deleted.
	Creates map[string]int `json:"creates,omitempty"`
	Changes map[string]int `json:"changes,omitempty"`
	Deletes map[string]int `json:"deletes,omitempty"`
	// RestartedWorkloads are replaced pod by pod, RestartedPods in all.
	RestartedWorkloads int `json:"restartedWorkloads"`
	RestartedPods      int `json:"restartedPods"`
	// Waypoints are those that services of the namespace use once the plan is
	// carried out.
	Waypoints []WaypointUse `json:"waypoints,omitempty"`
	// Blockers are the IDs of the gates that block.
	Blockers []string `json:"blockers,omitempty"`
	// Accepted are the IDs of the gates that would block, had their findings not
	// been accepted.
	Accepted []string `json:"accepted,omitempty"`
	// Unmatched are what was accepted and names no finding.
	Unmatched []string `json:"unmatched,omitempty"`
	// Risks are the IDs of the gates that announce what can go wrong on the way,
	// Differences of those that announce what behaves differently afterwards.
	Risks       []string `json:"risks,omitempty"`
	Differences []string `json:"differences,omitempty"`
}

// WaypointUse is a waypoint and for how many services it stands.
type WaypointUse struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Created is true where the plan makes it.
	Created  bool `json:"created,omitempty"`
	Services int  `json:"services"`
}

// Step is one thing that a run does and waits for.
type Step struct {
	// ID is unique within the plan: the phase and, where there are several
	// steps of it, the object.
	ID      string `json:"id"`
	Phase   Phase  `json:"phase"`
	Summary string `json:"summary"`
	// Notes are what an operator should know before agreeing to the step.
	Notes []string `json:"notes,omitempty"`
	// Wave is the same for steps, one after another in the plan, that may be in
	// progress at once: each is safe whatever the others have come to, and the step
	// after the last of them starts when all their gates hold. 0 is a step by itself.
	Wave int `json:"wave,omitempty"`
	// Requires must hold before the step changes anything; empty where nothing has
	// to.
	Requires GateKind `json:"requires,omitempty"`
	Changes  []Change `json:"changes,omitempty"`
	// Gate must hold before the next step starts.
	Gate Gate `json:"gate"`
}

// Change is one object that a step changes, creates or deletes.
type Change struct {
	Object ObjectReference `json:"object"`
	// UID is that of the object the plan was made for; empty where the plan
	// itself creates the object.
	UID    string        `json:"uid,omitempty"`
	Fields []FieldChange `json:"fields,omitempty"`
	// Create is the whole object that the step creates. It bears OriginLabel, unless
	// it is one that a run had deleted and a rollback makes again.
	Create map[string]any `json:"create,omitempty"`
	// Delete is true where the step deletes the object.
	Delete bool `json:"delete,omitempty"`
	// BeforeHash is the content hash of the object as the step finds it,
	// after the steps before it: without status and the fields that the API
	// server manages. It is empty where the step creates the object.
	BeforeHash string `json:"beforeHash,omitempty"`
	// AfterHash is that of the object as the step leaves it; empty where the
	// step deletes it.
	AfterHash string `json:"afterHash,omitempty"`
}

// FieldChange is one field of an object before and after a step. A nil value
// means that the field is absent.
type FieldChange struct {
	// Path is the field's JSON pointer (RFC 6901).
	Path   string `json:"path"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// KeptField is a field that a rollback would restore, if somebody else had
// not changed it after the run. Where the path is empty it is a whole object
// that the rollback would delete, and Reason says why it does not.
type KeptField struct {
	Object ObjectReference `json:"object"`
	Path   string          `json:"path"`
	Reason string          `json:"reason,omitempty"`
	// Expected is what the run had written, Found what is there now and
	// Wanted what was there before the run.
	Expected any `json:"expected"`
	Found    any `json:"found"`
	Wanted   any `json:"wanted"`
	// Later is true where other namespaces rely on it for now: the records hold it on, and
	// the next rollback puts it back once they do not any more.
	Later bool `json:"later,omitempty"`
}

// GateKind is what a step waits for.
type GateKind string

// The gates. Each is about the pods of Gate.Workloads, where it names any.
const (
	// GateNone: the change itself is all there is to it.
	GateNone GateKind = "none"
	// GateCaptured: every captured workload's pods are in ambient mode: ready,
	// without sidecar, captured on their node.
	GateCaptured GateKind = "captured"
	// GateInjected: every pod is ready and has its sidecar; pods that should
	// have one and lack it are replaced.
	GateInjected GateKind = "injected"
	// GateSidecarsHBONE: every sidecar accepts HBONE; of workloads that are named every
	// pod is ready and has a sidecar of the revision that injects it.
	GateSidecarsHBONE GateKind = "sidecars-hbone"
	// GateReady: every pod is ready, in whichever mode.
	GateReady GateKind = "ready"
	// GateVerified: verify passes for the namespace.
	GateVerified GateKind = "verified"
	// GateReleased: no pod is captured by ztunnel any more.
	GateReleased GateKind = "released"
	// GateRestored: what Gate.Restoration says is so, and nothing is left of what was
	// created, but for what the plan keeps.
	GateRestored GateKind = "restored"
)

// The gates that are about Gate.Objects.
const (
	// GateWaypointsReady: each Gateway would answer what is sent to it: istiod
	// has programmed it as it is, it has an address, and all of its replicas are
	// there.
	GateWaypointsReady GateKind = "waypoints-ready"
	// GatePoliciesAccepted: istiod has taken up each policy as it is. One for a
	// Service that uses no waypoint yet is taken up although it binds to nothing.
	GatePoliciesAccepted GateKind = "policies-accepted"
	// GateWaypointsBound: istiod sends each Service's traffic through the
	// waypoint that its label names, and each policy is bound to its waypoint.
	GateWaypointsBound GateKind = "waypoints-bound"
	// GateWaypointsUnbound: istiod sends no Service's traffic through another
	// waypoint than its labels name now.
	GateWaypointsUnbound GateKind = "waypoints-unbound"
	// GateGone: the objects do not exist any more, nor do the pods that ran for
	// a Gateway.
	GateGone GateKind = "gone"
)

// GateHandoverHolds is about the plan's Handover: its waypoints take traffic, its
// services are bound to them, its objects are as the steps before have left them
// and istiod accepts them, and there are no other policies than those that the plan
// was made with.
const GateHandoverHolds GateKind = "handover-holds"

// Gate is the condition that a step waits for.
type Gate struct {
	Kind GateKind `json:"kind"`
	// Workloads are those whose pods the gate is about; empty means all of
	// the namespace that the gate can be about.
	Workloads []ObjectReference `json:"workloads,omitempty"`
	// Objects are what the other gates are about: Gateways, Services,
	// ServiceEntries and policies. GateCaptured names the Gateway of a waypoint that
	// the pods name, GateInjected the Rollouts among all workloads.
	Objects []ObjectReference `json:"objects,omitempty"`
	// Replaces is true where GateCaptured has the run itself evict pods that are from
	// an earlier template, one at a time: the workload's controller replaces none.
	Replaces bool `json:"replaces,omitempty"`
	// Evicts is true where those are the pods that have a sidecar: their template stays
	// as it is, and what it makes has none any more.
	Evicts bool `json:"evicts,omitempty"`
	// Cordon is true where the node of a DaemonSet's pod is cordoned while the run
	// itself replaces that.
	Cordon bool `json:"cordon,omitempty"`
	// Since bounds GateInjected: pods created before it lacked their sidecar
	// before the migration, and keep lacking it.
	Since *time.Time `json:"since,omitempty"`
	// Restoration is what GateRestored is about.
	Restoration *Restoration `json:"restoration,omitempty"`
}
