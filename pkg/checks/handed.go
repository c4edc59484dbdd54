package checks

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Handed is what became of what runs have handed over.
type Handed struct {
	// Drifts are the objects that runs have made or amended and that are not any more
	// as they left them.
	Drifts []Drift
	// Judged are the policies of others that the newest run was planned with, and that
	// say now what they said then.
	Judged []v1alpha1.ObjectReference
	// Fronted are the Services and ServiceEntries that runs have put behind a waypoint,
	// with the one that the newest of them was planned with.
	Fronted []v1alpha1.FrontedService
	// TakenOff are the Services that rollbacks have taken off their waypoint, and that no
	// run has given one since, by name.
	TakenOff []string
	// Unseen are those that could not be read.
	Unseen []v1alpha1.ObjectReference
}

// handing is a check of what became of what runs have handed over: where the records were
// not read it is skipped, and says why.
func handing(check Check, run func(Subject) []Finding) Check {
	check.Run = func(subject Subject) []Finding {
		if subject.Handed == nil {
			// handed-over is unknown for that, and blocks.
			return []Finding{{Status: v1alpha1.StatusSkip, Message: "it cannot be told: the records of runs were not read"}}
		}
		return run(subject)
	}
	return check
}

// Drift is how an object differs from what it is to be.
type Drift struct {
	Object v1alpha1.ObjectReference
	// Gone is true where it is not there at all.
	Gone bool
	// Field is the first that differs.
	Field           string
	Expected, Found any
}

// Text says it in words that follow the object's name.
func (d Drift) Text() string {
	if d.Gone {
		return "is gone: somebody has deleted it"
	}
	return fmt.Sprintf("is not what it was made to be: %s is %s, and was %s: somebody has changed it", d.Field, brief(d.Found), brief(d.Expected))
}

// longest is how much of a value is shown.
const longest = 120

func brief(value any) string {
	if value == nil {
		return "absent"
	}
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	if text := []rune(string(data)); len(text) > longest {
		return string(text[:longest]) + "…"
	}
	return string(data)
}

// PoliciesIn are the policies of some lists that a snapshot holds, list by list.
func PoliciesIn(snapshot *mesh.Snapshot, lists []v1alpha1.ObjectList) []v1alpha1.ObjectReference {
	var all []v1alpha1.ObjectReference
	for _, list := range lists {
		add := func(namespace, name string) {
			if namespace == list.Namespace {
				all = append(all, v1alpha1.ObjectReference{APIVersion: list.APIVersion, Kind: list.Kind, Namespace: namespace, Name: name})
			}
		}
		switch list.Kind {
		case mesh.KindAuthorizationPolicy:
			for _, policy := range snapshot.AuthorizationPolicies() {
				add(policy.Namespace, policy.Name)
			}
		case mesh.KindPeerAuthentication:
			for _, policy := range snapshot.PeerAuthentications() {
				add(policy.Namespace, policy.Name)
			}
		default:
			for _, extension := range snapshot.Extensions() {
				if extension.Reference.Kind == list.Kind {
					add(extension.Reference.Namespace, extension.Reference.Name)
				}
			}
		}
	}
	return all
}

// Reaches says whether a policy, as a whole, is about pods of the namespace at hand,
// or about what goes through the waypoints in front of them.
func Reaches(subject Subject, handover v1alpha1.Handover, policy mesh.Object) bool {
	targets := mesh.TargetsIn(policy)
	if len(targets) == 0 {
		// A selector that is no map of texts the API server has refused.
		selector, _, _ := unstructured.NestedStringMap(policy, "spec", "selector", "matchLabels")
		return selectsAny(subject, selector)
	}
	in, _, _ := unstructured.NestedString(policy, "metadata", "namespace")
	return slices.ContainsFunc(targets, func(target mesh.Target) bool {
		object := v1alpha1.ObjectReference{Kind: target.Kind, Namespace: cmp.Or(target.Namespace, in), Name: target.Name}
		return target.Is(ofTheClass) || lists(handover.Waypoints, object) ||
			slices.ContainsFunc(handover.Services, func(service v1alpha1.FrontedService) bool { return same(service.Object, object) })
	})
}
