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
// is sent, so a record that says running means: perhaps changed. Undone means that a
// rollback of a part of the run has restored what it had changed.
const (
	StepPending StepState = "pending"
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepUndone  StepState = "undone"
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
	User string `json:"user,omitempty"`
	// Why is the reason that they gave.
	Why string `json:"why,omitempty"`
	// Resumes is the run that had stopped and that this one goes on with.
	Resumes     string     `json:"resumes,omitempty"`
	ToolVersion string     `json:"toolVersion"`
	Started     time.Time  `json:"started"`
	Finished    *time.Time `json:"finished,omitempty"`
	// Baseline is the namespace before the run, where it is an enrolment that found no
	// other open: that of the oldest open run is what was before. Runs of older versions
	// have none.
	Baseline *Baseline `json:"baseline,omitempty"`
	// Plan is what the run set out to do.
	Plan  MigrationPlan `json:"plan"`
	Steps []StepRecord  `json:"steps"`
	// Remains are the objects of a run that is rolled back which were kept, since other
	// namespaces rely on them: they are all that a rollback has left to undo of it.
	Remains []ObjectReference `json:"remains,omitempty"`
	// Awaits are the gates that were to be asked and have not held yet. A run that goes
	// on with this one asks them before anything else.
	Awaits []AwaitedGate `json:"awaits,omitempty"`
}

// AwaitedGate is the operator's own gate after a step that restarts workloads, which has
// to hold before anything else is done. It is in the record before the first write of
// the step, so that a run that is killed before it was asked has not forgotten it.
type AwaitedGate struct {
	// Step is the step that it comes after, of this run or of one that this goes on with.
	Step string `json:"step"`
	// Workloads are what the step restarts.
	Workloads []ObjectReference `json:"workloads"`
}

// Service is the only one that the run has given a waypoint, or taken off it, as
// service/cart; empty for other runs.
func (r MigrationRecord) Service() string {
	if r.Plan.Service != "" || r.Plan.Options == nil {
		return r.Plan.Service
	}
	return r.Plan.Options.Service
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
	// Undone are those of the step's objects that a rollback of a part of the run has
	// put back: the record says nothing of what becomes of them afterwards.
	Undone []ObjectReference `json:"undone,omitempty"`
	// Cordoned are the nodes that the step set out to cordon; each bears
	// CordonedAnnotation for as long as it is cordoned by that.
	Cordoned []string `json:"cordoned,omitempty"`
}

// Begun says whether the step may have written something that was not undone since. One
// that was never started has written nothing; one that says running may have.
func (s StepRecord) Begun() bool { return s.State != StepPending && s.State != StepUndone }

// BeforeImage is an object as it was before a step changed it.
type BeforeImage struct {
	Object ObjectReference `json:"object"`
	// Content is the whole object, unknown fields included.
	Content map[string]any `json:"content"`
}

// MigrationHistory lists the runs of a namespace, newest first.
type MigrationHistory struct {
	TypeMeta  `json:",inline"`
	Namespace string       `json:"namespace"`
	Runs      []RunSummary `json:"runs"`
	// Unreadable are the records that cannot be read.
	Unreadable []UnreadableRecord `json:"unreadable,omitempty"`
}

// UnreadableRecord is a record that cannot be read: it is damaged, or of another version
// of this tool.
type UnreadableRecord struct {
	ID string `json:"id"`
	// Object is what holds it.
	Object ObjectReference `json:"object"`
	// Reason says why it cannot be read, Remedy what can be done about it.
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
}

// RunSummary is one run without its plan and what it found.
type RunSummary struct {
	ID        string    `json:"id"`
	Operation Operation `json:"operation"`
	State     RunState  `json:"state"`
	// Open is true for a run that a rollback would undo.
	Open bool `json:"open"`
	// Remains are the objects that a rollback of the run has kept, since other namespaces
	// rely on them.
	Remains []ObjectReference `json:"remains,omitempty"`
	// Reason says why a run is incomplete, Why is the reason that somebody gave
	// for it.
	Reason      string     `json:"reason,omitempty"`
	Why         string     `json:"why,omitempty"`
	User        string     `json:"user,omitempty"`
	ToolVersion string     `json:"toolVersion"`
	Started     time.Time  `json:"started"`
	Finished    *time.Time `json:"finished,omitempty"`
	// Done counts the steps that are done, of all Steps.
	Done  int `json:"done"`
	Steps int `json:"steps"`
	// Until is the last phase that an enrolment was to take.
	Until Phase `json:"until,omitempty"`
	// Resumes is the run that had stopped and that this one went on with, Undoes
	// are those that a rollback undid.
	Resumes string   `json:"resumes,omitempty"`
	Undoes  []string `json:"undoes,omitempty"`
	// To is the phase of the enrolment that a rollback went back to.
	To Phase `json:"to,omitempty"`
	// Service is the only one that the run has given a waypoint, or taken off it, as
	// service/cart.
	Service string `json:"service,omitempty"`
}
