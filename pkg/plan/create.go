package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// origin is the value of OriginLabel where an object does not say more.
const origin = "kubectl-ambient"

// TakenError says that an object that a plan would create exists and was not
// made by this tool. It is never overwritten.
type TakenError struct {
	Object v1alpha1.ObjectReference
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("%s exists already and was not made by an enrolment (it lacks label %s): rename or delete it", e.Object, v1alpha1.OriginLabel)
}

// creates makes the creation of an object part of a step. Where it exists
// already as an earlier run left it, nothing is added; where that is not how it
// is to be, a change of it. What was made by somebody else is a TakenError.
func (p *Projection) creates(step *v1alpha1.Step, object map[string]any) error {
	wanted, err := creatable(object)
	if err != nil {
		return err
	}
	reference := referenceTo(wanted)
	if there, found := p.find(reference); found {
		if !Ours(there) {
			return &TakenError{Object: reference}
		}
		return p.changes(step, reference, p.toward(reference, wanted))
	}
	change := v1alpha1.Change{Object: reference, Create: wanted}
	if change.AfterHash, err = Hash(wanted); err != nil {
		return fmt.Errorf("%s: %w", reference, err)
	}
	if _, _, err := p.Apply(change); err != nil {
		return err
	}
	step.Changes = append(step.Changes, change)
	return nil
}

// holds says whether an object of ours is there as it is to be.
func (p *Projection) holds(object map[string]any) bool {
	wanted, err := creatable(object)
	if err != nil {
		return false
	}
	reference := referenceTo(wanted)
	there, found := p.find(reference)
	return found && Ours(there) && !slices.ContainsFunc(p.toward(reference, wanted), func(one edit) bool {
		return !Equal(Lookup(there, one.path), one.after)
	})
}

// Stamped is a plan whose objects to be created say which run creates them, but for
// those that are made again as they were.
func Stamped(planned v1alpha1.MigrationPlan, run string) v1alpha1.MigrationPlan {
	planned.Steps = slices.Clone(planned.Steps)
	for i := range planned.Steps {
		changes := slices.Clone(planned.Steps[i].Changes)
		for j := range changes {
			if !Ours(changes[j].Create) {
				continue
			}
			created := runtime.DeepCopyJSON(changes[j].Create)
			// It fails where the annotations are no map, which the API server refuses.
			_ = unstructured.SetNestedField(created, run, "metadata", "annotations", v1alpha1.RunAnnotation)
			changes[j].Create = created
		}
		planned.Steps[i].Changes = changes
	}
	return planned
}

// deletes makes the deletion of an object part of a step. It adds nothing where
// there is none.
func (p *Projection) deletes(step *v1alpha1.Step, reference v1alpha1.ObjectReference) error {
	object, found := p.find(reference)
	if !found {
		return nil
	}
	hash, err := Hash(object)
	if err != nil {
		return fmt.Errorf("%s: %w", reference, err)
	}
	change := v1alpha1.Change{Object: reference, UID: uidOf(object), Delete: true, BeforeHash: hash}
	if _, _, err := p.Apply(change); err != nil {
		return err
	}
	step.Changes = append(step.Changes, change)
	return nil
}

// toward are the edits that make an object of ours what it is to be: its spec as
// a whole, and the labels and annotations that it is to have.
func (p *Projection) toward(reference v1alpha1.ObjectReference, wanted map[string]any) []edit {
	var edits []edit
	there, _ := p.find(reference)
	if !p.sameSpec(reference, there, wanted) {
		field := contentField(wanted)
		edits = append(edits, edit{Pointer("", field), wanted[field]})
	}
	for _, kind := range []string{"labels", "annotations"} {
		values, _ := Lookup(wanted, Pointer("/metadata", kind)).(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(values)) {
			edits = append(edits, edit{Pointer("/metadata", kind, name), values[name]})
		}
	}
	return edits
}

// sameSpec looks at the whole object as it was read, where no step has written
// it: Bare drops its generation.
func (p *Projection) sameSpec(reference v1alpha1.ObjectReference, there, wanted map[string]any) bool {
	if _, written := p.objects[reference]; !written {
		if read, found := p.snapshot.Object(reference); found {
			there = read
		}
	}
	if reference.Kind == mesh.KindAuthorizationPolicy || reference.Kind == mesh.KindRequestAuthentication {
		// These have no defaults: what one holds besides what is wanted is a
		// difference, such as a selector that is to become wider.
		return Equal(there["spec"], wanted["spec"])
	}
	return specAsWritten(there, wanted, 0)
}

// Ours says whether an enrolment created the object.
func Ours(object map[string]any) bool {
	value, _ := Lookup(object, Pointer("/metadata/labels", v1alpha1.OriginLabel)).(string)
	return value != ""
}

// AsWritten says whether an object of ours still is what a run wrote, which has
// written its spec anew so many times since it created it. Labels and
// annotations that others have added do not count, unless Istio reads the label.
func AsWritten(live, written map[string]any, rewrites int) bool {
	if !Ours(live) || !specAsWritten(live, written, rewrites) {
		return false
	}
	for _, kind := range []string{"labels", "annotations"} {
		path := Pointer("/metadata", kind)
		has, _ := Lookup(live, path).(map[string]any)
		had, _ := Lookup(written, path).(map[string]any)
		for name, value := range had {
			if !Equal(has[name], value) {
				return false
			}
		}
		for name := range has {
			if _, was := had[name]; !was && kind == "labels" && mesh.IstioReads(name) {
				return false
			}
		}
	}
	return true
}

// specAsWritten says whether a spec is what was written: the same, or the same
// but for fields that the API server has set by default. That nobody else has
// set those is known by the generation, which counts the writes of a spec.
func specAsWritten(live, written map[string]any, rewrites int) bool {
	field := contentField(written)
	if Equal(live[field], written[field]) {
		return true
	}
	generation, _, err := unstructured.NestedInt64(live, "metadata", "generation")
	return err == nil && generation > 0 && generation <= int64(1+rewrites) && covers(live[field], written[field])
}

// contentField is where an object holds what it says.
func contentField(object map[string]any) string {
	if object["kind"] == mesh.KindConfigMap {
		return "data"
	}
	return "spec"
}

// covers says whether a value holds all that another one does. Lists have the
// same length.
func covers(value, part any) bool {
	switch part := part.(type) {
	case map[string]any:
		value, is := value.(map[string]any)
		if !is {
			return false
		}
		for key, of := range part {
			if !covers(value[key], of) {
				return false
			}
		}
		return true
	case []any:
		value, is := value.([]any)
		return is && slices.EqualFunc(value, part, covers)
	default:
		return Equal(value, part)
	}
}

// creatable is an object as a plan holds it: of the types that JSON has, labelled
// as ours, and with the defaults that the API server would set, so that what is
// planned is what will be there.
func creatable(object map[string]any) (map[string]any, error) {
	data, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("create an object: %w", err)
	}
	var plain map[string]any
	if err := utiljson.Unmarshal(data, &plain); err != nil {
		return nil, fmt.Errorf("create an object: %w", err)
	}
	unstructured.RemoveNestedField(plain, "status")
	unstructured.RemoveNestedField(plain, "metadata", "creationTimestamp")
	reference := referenceTo(plain)
	if reference.Kind == "" || reference.APIVersion == "" || reference.Name == "" {
		return nil, fmt.Errorf("%s: an object to be created needs apiVersion, kind and metadata.name", reference)
	}
	if !Ours(plain) {
		if err := unstructured.SetNestedField(plain, origin, "metadata", "labels", v1alpha1.OriginLabel); err != nil {
			return nil, fmt.Errorf("%s: %w", reference, err)
		}
	}
	if reference.Kind == mesh.KindGateway {
		defaultListeners(plain)
	}
	return plain, nil
}

// defaultListeners sets what the Gateway API's CustomResourceDefinition does:
// which namespaces a listener admits routes from.
func defaultListeners(gateway map[string]any) {
	listeners, _ := Lookup(gateway, "/spec/listeners").([]any)
	for _, listener := range listeners {
		fields, is := listener.(map[string]any)
		if !is || Lookup(fields, "/allowedRoutes/namespaces/from") != nil {
			continue
		}
		// It fails where allowedRoutes is no map: the API server will say so.
		_ = unstructured.SetNestedField(fields, "Same", "allowedRoutes", "namespaces", "from")
	}
}

func referenceTo(object map[string]any) v1alpha1.ObjectReference {
	read := unstructured.Unstructured{Object: object}
	return v1alpha1.ObjectReference{
		APIVersion: read.GetAPIVersion(), Kind: read.GetKind(), Namespace: read.GetNamespace(), Name: read.GetName(),
	}
}
