package plan

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// WithObjects is a plan for somebody to review and to hand back later: with the
// objects that its steps change or delete, as they are in the snapshot that it was
// made from.
func WithObjects(snapshot *mesh.Snapshot, planned v1alpha1.MigrationPlan) v1alpha1.MigrationPlan {
	planned.Objects = nil
	seen := map[v1alpha1.ObjectReference]bool{}
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			object, found := snapshot.Object(change.Object)
			if seen[change.Object] || !found {
				continue
			}
			seen[change.Object] = true
			planned.Objects = append(planned.Objects, v1alpha1.BeforeImage{Object: change.Object, Content: lasting(object)})
		}
	}
	return planned
}

// lasting is an object without what changes although nobody changes what the
// plan was made for: besides what the API server manages, how many pods a workload
// has, which autoscalers write all the time and no step does.
func lasting(object map[string]any) map[string]any {
	bare := Bare(object)
	if scaled(bare) {
		unstructured.RemoveNestedField(bare, "spec", "replicas")
	}
	return bare
}

// scaled says whether an object has pods, and how many is written in it.
func scaled(object map[string]any) bool {
	_, templated, err := unstructured.NestedFieldNoCopy(object, "spec", "template", "spec")
	return templated && err == nil
}

// Departure is something that is not as it was when a plan was made.
type Departure struct {
	// Object is what it is about; the zero reference where it is a step.
	Object  v1alpha1.ObjectReference
	Message string
	// Before and After are the object as the plan found it and as it is now, where
	// both are known.
	Before, After map[string]any
}

// Contract checks that a plan which was reviewed can be carried out: that it is
// one of an enrolment, with all of its steps from the first on.
func Contract(reviewed v1alpha1.MigrationPlan) error {
	switch {
	case reviewed.APIVersion != v1alpha1.GroupVersion || reviewed.Kind != v1alpha1.KindMigrationPlan:
		return fmt.Errorf("it is a %s of version %q, not a %s of %s", reviewed.Kind, reviewed.APIVersion, v1alpha1.KindMigrationPlan, v1alpha1.GroupVersion)
	case reviewed.Operation != v1alpha1.OperationEnroll:
		return fmt.Errorf("it is the plan of a %s, and only enrolments are planned ahead", reviewed.Operation)
	case reviewed.Options == nil:
		return fmt.Errorf("it does not say with which options it was made: make it anew")
	case reviewed.Withheld || reviewed.Blocked:
		return fmt.Errorf("it is blocked: make it anew once what blocks it is mended or accepted")
	case reviewed.Options.From != "":
		return fmt.Errorf("it begins with phase %s: a plan is carried out from its first step on; make it without --from", reviewed.Options.From)
	default:
		return whole(reviewed)
	}
}

// whole wants a plan to hold every object that it changes or deletes and does not
// create itself: one that is left out could have changed without anybody noticing.
func whole(reviewed v1alpha1.MigrationPlan) error {
	created := map[v1alpha1.ObjectReference]bool{}
	for _, step := range reviewed.Steps {
		for _, change := range step.Changes {
			if change.Create != nil {
				created[change.Object] = true
			}
			if _, held := content(reviewed.Objects, change.Object); !held && !created[change.Object] {
				return fmt.Errorf("it does not hold %s, which step %s touches, as it was: make it anew by plan -o yaml", change.Object, step.ID)
			}
		}
	}
	return nil
}

// Departures compares a plan that was reviewed, with its objects, with one that was
// made now with the same options, with its objects. It is empty where the second
// does to the same objects what the first said, and the policies that decide calls to
// the namespace say what they said.
func Departures(reviewed, now v1alpha1.MigrationPlan) []Departure {
	var departures []Departure
	for _, was := range reviewed.Objects {
		is, found := content(now.Objects, was.Object)
		switch {
		case !found:
			departures = append(departures, Departure{Object: was.Object, Message: "no step of a plan made now touches it: it is gone, or needs nothing any more"})
		case !Equal(was.Content, is):
			departures = append(departures, Departure{Object: was.Object, Message: "it has changed since", Before: was.Content, After: is})
		}
	}
	departures = append(departures, policyDepartures(reviewed, now)...)
	if len(departures) == 0 && !SameSteps(reviewed, now) {
		departures = append(departures, stepDepartures(reviewed.Steps, now.Steps)...)
	}
	return departures
}

// policyDepartures name the policies that decide calls to the namespace's pods, that no
// step touches, and that have come, gone or changed since: which calls a plan lets in
// was reviewed with them.
func policyDepartures(reviewed, now v1alpha1.MigrationPlan) []Departure {
	if reviewed.Handover == nil || now.Handover == nil {
		return nil
	}
	var departures []Departure
	for _, was := range reviewed.Handover.Policies {
		is, known := hashOf(now.Handover.Policies, was.Object)
		switch {
		case holdsContent(reviewed, was.Object), holdsContent(now, was.Object), slices.Contains(now.Handover.Objects, was.Object):
			// It is compared as what steps touch, or by what they do.
		case !known:
			departures = append(departures, Departure{Object: was.Object, Message: "it is gone, and the plan was made with it"})
		case is != was.Hash:
			departures = append(departures, Departure{Object: was.Object, Message: "it has changed since, and decides calls to the namespace"})
		}
	}
	for _, is := range now.Handover.Policies {
		_, known := hashOf(reviewed.Handover.Policies, is.Object)
		if !known && !holdsContent(reviewed, is.Object) && !holdsContent(now, is.Object) && !slices.Contains(reviewed.Handover.Objects, is.Object) {
			departures = append(departures, Departure{Object: is.Object, Message: "it was not there when the plan was made, and decides calls to the namespace"})
		}
	}
	return departures
}

// hashOf is that of a policy among some, and whether it is among them.
func hashOf(policies []v1alpha1.KnownPolicy, object v1alpha1.ObjectReference) (string, bool) {
	i := slices.IndexFunc(policies, func(policy v1alpha1.KnownPolicy) bool { return policy.Object == object })
	if i < 0 {
		return "", false
	}
	return policies[i].Hash, true
}

// holdsContent says whether a plan holds an object that its steps touch.
func holdsContent(planned v1alpha1.MigrationPlan, object v1alpha1.ObjectReference) bool {
	_, held := content(planned.Objects, object)
	return held
}

func content(images []v1alpha1.BeforeImage, object v1alpha1.ObjectReference) (map[string]any, bool) {
	i := slices.IndexFunc(images, func(image v1alpha1.BeforeImage) bool { return image.Object == object })
	if i < 0 {
		return nil, false
	}
	return images[i].Content, true
}

// stepDepartures say how steps differ although the objects that they touch do not:
// something else in the mesh has changed.
func stepDepartures(reviewed, now []v1alpha1.Step) []Departure {
	var departures []Departure
	for _, step := range now {
		if !slices.ContainsFunc(reviewed, func(other v1alpha1.Step) bool { return other.ID == step.ID }) {
			departures = append(departures, Departure{Message: fmt.Sprintf("step %s has to be taken as well: %s", step.ID, step.Summary)})
		}
	}
	for _, step := range reviewed {
		i := slices.IndexFunc(now, func(other v1alpha1.Step) bool { return other.ID == step.ID })
		switch {
		case i < 0:
			departures = append(departures, Departure{Message: fmt.Sprintf("step %s is not needed any more", step.ID)})
		case !SameSteps(v1alpha1.MigrationPlan{Steps: []v1alpha1.Step{step}}, v1alpha1.MigrationPlan{Steps: []v1alpha1.Step{now[i]}}):
			departures = append(departures, Departure{Message: fmt.Sprintf("step %s would do or wait for something else now", step.ID)})
		}
	}
	if len(departures) == 0 {
		departures = append(departures, Departure{Message: "the steps would be taken in another order now"})
	}
	return departures
}
