package v1alpha1

// CallEffect is how a migration changes what becomes of a call.
type CallEffect string

// The effects. A call that an external authorizer was asked about and that is now
// let in without asking is newly allowed, too. One is newly proven that the policies
// admit already from who makes it, and that is refused today only because the caller
// does not prove who it is: a sidecar does not where a pod's own address is dialled.
const (
	CallNewlyAllowed CallEffect = "newly-allowed"
	CallNewlyProven  CallEffect = "newly-proven"
	CallNewlyDenied  CallEffect = "newly-denied"
)

// AccessReport says which calls a plan's steps decide differently from how they are
// decided before the first of them.
type AccessReport struct {
	// Compared is how many calls were decided, one of each kind that the policies
	// can tell apart, for each state of the mesh that the plan goes through.
	Compared int `json:"compared"`
	// MixedCallers is what was chosen for callers that pass by the waypoint.
	MixedCallers string       `json:"mixedCallers,omitempty"`
	Changes      []CallChange `json:"changes,omitempty"`
	// Incomplete says what could not be compared. The result is then not known.
	Incomplete []string `json:"incomplete,omitempty"`
	// Unread says which namespaces that the plan leaves alone could not be looked at for
	// what those who move call there.
	Unread []string `json:"unread,omitempty"`
}

// CallChange is a kind of call that is decided differently, by one of its kind.
type CallChange struct {
	Effect CallEffect `json:"effect"`
	// From is the ID of the step with which it begins, Until that of the step with
	// which it ends; empty where it stays.
	From  string `json:"from"`
	Until string `json:"until,omitempty"`
	// Caller is who calls, Server the workload that answers, Service what was
	// dialled; nil where it was the pod's own address.
	Caller  CallCaller       `json:"caller"`
	Server  ObjectReference  `json:"server"`
	Service *ObjectReference `json:"service,omitempty"`
	// Port is the Service's, or the pod's where no Service was dialled.
	Port uint32 `json:"port"`
	// AnyOther is true where Port stands for all ports of the pod that no container,
	// Service or policy names.
	AnyOther bool `json:"anyOther,omitempty"`
	// Direct is true where the call, after the step, goes through no waypoint.
	Direct bool `json:"direct"`
	// Outbound is true where the server is of a namespace in which the plan moves
	// nothing, and the call is decided differently because the caller goes another way.
	Outbound bool `json:"outbound,omitempty"`
	// Announced is true of an outbound call that is let in and not held against the plan:
	// nothing but what runs have made refuses it today, or a rollback lets in again what
	// the plans of the runs that it undoes have announced to be refused.
	Announced bool `json:"announced,omitempty"`
	// Repairs is true where the plan makes again what runs before have handed over, and
	// the call comes to be decided as policies say, were all pods on sidecars: what
	// was made of them was taken away since, or they have come or changed.
	Repairs bool        `json:"repairs,omitempty"`
	Request CallRequest `json:"request"`
	Before  CallVerdict `json:"before"`
	After   CallVerdict `json:"after"`
	// Alike counts the calls that policies can tell apart and that change in the
	// same way.
	Alike int `json:"alike"`
	// Kinds are these calls but for Request, which stands for all of them.
	Kinds  []CallKind `json:"kinds,omitempty"`
	Remedy string     `json:"remedy,omitempty"`
}

// CallKind is a kind of call that changes as another one does.
type CallKind struct {
	// Address is where it is made from, where that makes a difference.
	Address string      `json:"address,omitempty"`
	Request CallRequest `json:"request"`
}

// CallCaller is who calls.
type CallCaller struct {
	// Name is what runs it, or what is known of it: "Deployment shop/web",
	// "a workload nobody has seen".
	Name string `json:"name"`
	// Names are all whose calls change alike, where Name leaves some out.
	Names []string `json:"names,omitempty"`
	// Mode is how it takes part in the mesh: sidecar, ambient, gateway or outside.
	Mode string `json:"mode"`
	// Principal is its identity; empty where it has none.
	Principal string `json:"principal,omitempty"`
	// Address is where it calls from, where that makes a difference.
	Address string `json:"address,omitempty"`
}

// CallRequest is what is asked for. A connection without HTTP has no method.
type CallRequest struct {
	Method  string            `json:"method,omitempty"`
	Host    string            `json:"host,omitempty"`
	Path    string            `json:"path,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// Token says which JSON Web Token it carries, in words.
	Token        string `json:"token,omitempty"`
	ForwardedFor string `json:"forwardedFor,omitempty"`
	ServerName   string `json:"serverName,omitempty"`
}

// CallVerdict is what becomes of a call.
type CallVerdict struct {
	// Outcome is allowed, denied or delegated.
	Outcome string `json:"outcome"`
	// Point is where it is decided: sidecar, ztunnel, waypoint, gateway; empty
	// where it is allowed.
	Point    string            `json:"point,omitempty"`
	Policies []ObjectReference `json:"policies,omitempty"`
	Reason   string            `json:"reason,omitempty"`
}
