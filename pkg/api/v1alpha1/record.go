package v1alpha1

import "time"

// RunState is how far a run has come.
type RunState string

// The states of a run. Incomplete means that it stopped after it had changed
// something; RolledBack that a later run restored what it had changed.
const (
	RunRunning    RunState = "running"
	RunSucceeded  RunState = "succeeded"
	RunIncomplete RunState = "incomplete"
	RunRolledBack RunState = "rolled-back"
)

// StepState is how far one step of a run has come.
type StepState string

// The states of a step. Running is written before the first change of a step
// is sent, so a record that says running means: perhaps changed.
const (
	StepPending StepState = "pending"
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
)

// MigrationRecord is what a run did, kept in the namespace it changed. It is
// written before each step and after it, so it is true at any instant.
type MigrationRecord struct {
	TypeMeta  `json:",inline"`
	ID        string    `json:"id"`
	Operation Operation `json:"operation"`
	Namespace string    `json:"namespace"`
	State     RunState  `json:"state"`
	// Reason says why a run is incomplete.
	Reason string `json:"reason,omitempty"`
	// User is who ran it, as the API server knows them.
	User        string     `json:"user,omitempty"`
	ToolVersion string     `json:"toolVersion"`
	Started     time.Time  `json:"started"`
	Finished    *time.Time `json:"finished,omitempty"`
	// Plan is what the run set out to do.
	Plan  MigrationPlan `json:"plan"`
	Steps []StepRecord  `json:"steps"`
}

// StepRecord is what became of one step of the plan.
type StepRecord struct {
	ID       string     `json:"id"`
	State    StepState  `json:"state"`
	Started  *time.Time `json:"started,omitempty"`
	Finished *time.Time `json:"finished,omitempty"`
	Message  string     `json:"message,omitempty"`
	// Before holds each object that the step changes, complete, as it was
	// read immediately before the step's first write.
	Before []BeforeImage `json:"before,omitempty"`
}

// BeforeImage is an object as it was before a step changed it.
type BeforeImage struct {
	Object ObjectReference `json:"object"`
	// Content is the whole object, unknown fields included.
	Content map[string]any `json:"content"`
}
