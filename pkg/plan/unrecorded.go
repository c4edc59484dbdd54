package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"istio.io/api/annotation"
	"istio.io/api/label"
)

// Unrecorded is what is chosen about a rollback that has no record to go by.
type Unrecorded struct {
	// Revision is the one that is to inject, or its tag; DefaultRevision asks by
	// istio-injection=enabled. Empty where the mesh leaves no choice.
	Revision string
	// Begun is the plan of an earlier one that has stopped, nil where there is none.
	// The namespace need not be in ambient mode any more by then, and a waypoint may be
	// gone that policies still exempt.
	Begun *v1alpha1.MigrationPlan
	// Accept are findings that do not block, named as Options.Accept names them.
	Accept []string
	// MaxParallelRestarts is that of Undoing.
	MaxParallelRestarts int
}

// DefaultRevision is the revision, or the tag, that istio-injection=enabled asks for.
const DefaultRevision = "default"

// RollbackUnrecorded plans to put a namespace back on sidecars by what is there now.
// It is Rollback of the run that would have left what is there, where nothing had
// been there before; that it need not be what was there, nobody can tell.
func RollbackUnrecorded(snapshot *mesh.Snapshot, namespace mesh.Namespace, chosen Unrecorded) (v1alpha1.MigrationPlan, error) {
	planned := NothingToRollBack(namespace.Name)
	planned.Accepted, planned.Unrecorded = chosen.Accept, true
	planner := rollback{snapshot: snapshot, namespace: namespace, state: NewProjection(snapshot), plan: &planned, parallel: chosen.MaxParallelRestarts}
	derive := derivation{rollback: &planner}
	if err := derive.seesAll(); err != nil {
		return planned, err
	}
	derive.ambient()
	derive.templates()
	ambient := len(planner.written) > 0
	derive.waypoints()
	derive.policies()
	if !ambient && len(planner.created) == 0 && chosen.Begun == nil {
		// A namespace on sidecars may well name a waypoint, of which gateways and
		// callers in ambient mode make use.
		return planned, nil
	}
	derive.users()
	derive.begun(chosen.Begun)
	planner.stays = !ambient && !Replaces(chosen.Begun)
	if err := derive.injection(chosen.Revision); err != nil {
		return planned, err
	}
	err := planner.finish("")
	if len(planned.Steps) > 0 {
		planned.Steps[0].Notes = append(planned.Steps[0].Notes, "no record says what was there before: this is derived from what is there now, and need not be exactly that")
	}
	return planned, err
}

// Replaces says whether a plan, where there is one, is to replace pods, as each is that
// puts a namespace back on sidecars.
func Replaces(planned *v1alpha1.MigrationPlan) bool {
	return planned != nil && slices.ContainsFunc(planned.Steps, func(step v1alpha1.Step) bool { return step.Phase == v1alpha1.PhaseReplacePods })
}

// derivation finds out what a run may have written, from what is there.
type derivation struct{ *rollback }

// seesAll wants everything to be known that may have been written: what cannot be
// read would be left as it is, and nobody told.
func (d derivation) seesAll() error {
	for _, key := range []string{
		mesh.KindGateway, mesh.WaypointParameters, mesh.KindAuthorizationPolicy, mesh.KindRequestAuthentication, mesh.KindService, mesh.KindServiceEntry,
	} {
		if coverage := d.snapshot.Coverage(key, d.namespace.Name); !coverage.Known() {
			return fmt.Errorf("%s in namespace %s cannot be read, and may have to be put back: %s", key, d.namespace.Name, coverage.Reason)
		}
	}
	return nil
}

// wrote notes a field of an object that a run may have written, and what it is to be
// instead.
func (d derivation) wrote(phase v1alpha1.Phase, object v1alpha1.ObjectReference, path string, found, before any) {
	if !Equal(found, before) {
		d.written = append(d.written, writtenField{phase: phase, object: object, path: path, before: before, after: []any{found}})
	}
}

// labelled notes those labels that an object has, to be taken off.
func (d derivation) labelled(phase v1alpha1.Phase, object v1alpha1.ObjectReference, names ...string) {
	live, _ := d.snapshot.Object(object)
	for _, name := range names {
		path := Pointer("/metadata/labels", name)
		d.wrote(phase, object, path, Lookup(live, path), nil)
	}
}

// made notes an object that an enrolment has created.
func (d derivation) made(phase v1alpha1.Phase, object v1alpha1.ObjectReference) {
	if live, found := d.snapshot.Object(object); found && object.Namespace == d.namespace.Name && Ours(live) {
		d.created = append(d.created, createdObject{phase: phase, object: object, contents: []map[string]any{Bare(live)}})
	}
}

// waypoints are those that an enrolment has created: one that somebody has made by
// hand is left alone.
func (d derivation) waypoints() {
	for _, configMap := range d.snapshot.ConfigMaps() {
		d.made(v1alpha1.PhaseDeployWaypoints, v1alpha1.ObjectReference{APIVersion: "v1", Kind: mesh.KindConfigMap, Namespace: configMap.Namespace, Name: configMap.Name})
	}
	for _, gateway := range d.snapshot.Gateways(d.namespace.Name) {
		d.made(v1alpha1.PhaseDeployWaypoints, v1alpha1.ObjectReference{APIVersion: gatewayVersion, Kind: mesh.KindGateway, Namespace: gateway.Namespace, Name: gateway.Name})
	}
}

// policies are those that an enrolment has created, and those of others that exempt
// a waypoint which goes.
func (d derivation) policies() {
	principals := d.principals()
	for _, policy := range d.snapshot.AuthorizationPolicies() {
		reference := mesh.SecurityReference(mesh.KindAuthorizationPolicy, policy.Namespace, policy.Name)
		switch {
		case policy.Namespace != d.namespace.Name:
		case policy.Labels[v1alpha1.OriginLabel] == "":
			live, found := d.snapshot.Object(reference)
			spec, exempted := translate.Unexempted(policy, principals)
			if found && exempted {
				d.wrote(v1alpha1.PhaseMigratePolicies, reference, "/spec", live["spec"], spec)
			}
		case len(mesh.TargetsOf(&policy.Spec)) > 0 || strings.HasPrefix(policy.Name, mesh.FromWaypointPrefix):
			d.made(v1alpha1.PhaseMigratePolicies, reference)
		default:
			// A guard that holds for all pods refuses what a sidecar that is back
			// decides by itself: it holds first for those again that lack one.
			d.made(v1alpha1.PhaseActivateWaypoints, reference)
			path := Pointer("/spec/selector/matchLabels", label.SidecarInject.Name)
			live, _ := d.snapshot.Object(reference)
			d.wrote(v1alpha1.PhaseSettlePolicies, reference, path, Lookup(live, path), "false")
		}
	}
	for _, extension := range d.snapshot.Extensions() {
		d.made(v1alpha1.PhaseMigratePolicies, extension.Reference)
	}
}

// begun are the policies of others that an earlier plan was to put back.
func (d derivation) begun(plan *v1alpha1.MigrationPlan) {
	if plan == nil {
		return
	}
	for _, step := range plan.Steps {
		for _, change := range step.Changes {
			known := slices.ContainsFunc(d.written, func(field writtenField) bool { return field.object == change.Object })
			if step.Phase != v1alpha1.PhaseRestorePolicies || known {
				continue
			}
			for _, field := range change.Fields {
				d.wrote(v1alpha1.PhaseMigratePolicies, change.Object, field.Path, field.Before, field.After)
			}
		}
	}
}

// principals are the identities of the waypoints that go.
func (d derivation) principals() []string {
	var principals []string
	for _, created := range d.created {
		if created.object.Kind == mesh.KindGateway {
			gateway, _ := d.snapshot.Gateway(created.object.Namespace, created.object.Name)
			account := cmp.Or(gateway.Annotations[annotation.GatewayServiceAccount.Name], gateway.Name)
			principals = append(principals, d.snapshot.TrustDomain()+"/ns/"+gateway.Namespace+"/sa/"+account)
		}
	}
	return principals
}

// users are what names a waypoint, or says that it is to have none.
func (d derivation) users() {
	users := []v1alpha1.ObjectReference{d.namespace.Reference()}
	for _, service := range d.snapshot.Services(d.namespace.Name) {
		users = append(users, mesh.ServiceReference(service.Namespace, service.Name))
	}
	for _, entry := range d.snapshot.ServiceEntries() {
		if entry.Namespace == d.namespace.Name {
			users = append(users, mesh.ServiceEntryReference(entry.Namespace, entry.Name))
		}
	}
	for _, user := range users {
		d.labelled(v1alpha1.PhaseActivateWaypoints, user,
			label.IoIstioUseWaypoint.Name, label.IoIstioUseWaypointNamespace.Name, label.IoIstioIngressUseWaypoint.Name)
	}
}

func (d derivation) ambient() {
	if d.namespace.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneAmbient {
		d.labelled(v1alpha1.PhaseEnableAmbient, d.namespace.Reference(), label.IoIstioDataplaneMode.Name)
	}
}

// templates are those that refuse sidecars, or name waypoints, of workloads whose pods
// are in ambient mode. One that opted out of both modes is left alone.
func (d derivation) templates() {
	for _, workload := range d.snapshot.Workloads(d.namespace.Name) {
		if !d.inAmbient(workload) {
			continue
		}
		labels, annotations := Pointer(workload.TemplatePath, "metadata", "labels"), Pointer(workload.TemplatePath, "metadata", "annotations")
		paths := []string{Pointer(labels, label.IoIstioDataplaneMode.Name), Pointer(labels, label.IoIstioUseWaypoint.Name), Pointer(labels, label.IoIstioUseWaypointNamespace.Name)}
		if mesh.OptedOut(workload.Template.Labels, workload.Template.Annotations) {
			paths = append(paths, Pointer(labels, label.SidecarInject.Name), Pointer(annotations, annotation.SidecarInject.Name))
		}
		for _, path := range paths {
			d.wrote(v1alpha1.PhaseRestartWorkloads, workload.Reference, path, Lookup(workload.Object, path), nil)
		}
	}
}

// inAmbient says whether the pods of a workload are in ambient mode, or would be if
// there were any.
func (d derivation) inAmbient(workload mesh.Workload) bool {
	if workload.Reference.Kind == mesh.KindJob || workload.Reference.Kind == mesh.KindReplicaSet ||
		workload.IsGateway() || workload.IsAgent() || workload.CarriesProxy() || workload.Template.Spec.HostNetwork {
		return false
	}
	mode := cmp.Or(workload.Template.Labels[label.IoIstioDataplaneMode.Name], d.namespace.Labels[label.IoIstioDataplaneMode.Name])
	pods := d.snapshot.PodsOf(workload)
	return mode == mesh.DataplaneAmbient && !slices.ContainsFunc(pods, mesh.Pod.HasSidecar) &&
		(len(pods) == 0 || slices.ContainsFunc(pods, mesh.Pod.Redirected))
}

// injection asks for sidecars, where the namespace does not by itself. One that is not in
// ambient mode may never have been in the mesh: what is left in it of an enrolment does
// not say that it is to have any.
func (d derivation) injection(revision string) error {
	if d.stays {
		if revision != "" {
			return &translate.OptionError{Text: fmt.Sprintf("namespace %s is not in ambient mode, so that nothing is to get sidecars back: leave the revision out", d.namespace.Name)}
		}
		return nil
	}
	if d.snapshot.Injectors().Inject(d.namespace.Labels, nil, nil, false) {
		if revision != "" {
			return &translate.OptionError{Text: fmt.Sprintf("namespace %s asks for sidecars already: leave the revision out", d.namespace.Name)}
		}
		return nil
	}
	choices := d.revisions()
	if revision == "" {
		if len(choices) != 1 {
			return &translate.OptionError{Text: fmt.Sprintf("nothing says which revision is to inject namespace %s: choose one, of %s", d.namespace.Name, listed(choices))}
		}
		revision = choices[0]
	}
	if !d.injects(revision) {
		return &translate.OptionError{Text: fmt.Sprintf("revision %s would not inject namespace %s: choose one that does, of %s", revision, d.namespace.Name, listed(choices))}
	}
	asking := d.asking(revision)
	for _, name := range []string{mesh.NamespaceInjectionLabel, label.IoIstioRev.Name} {
		var before any
		if value, set := asking[name]; set {
			before = value
		}
		path := Pointer("/metadata/labels", name)
		d.wrote(v1alpha1.PhaseDisableInjection, d.namespace.Reference(), path, Lookup(d.namespace.Object, path), before)
	}
	return nil
}

func listed(revisions []string) string {
	if len(revisions) == 0 {
		return "which none is installed"
	}
	return strings.Join(revisions, ", ")
}

// revisions are those that would inject the namespace, each once: where there is one
// only, and it is the default, as that.
func (d derivation) revisions() []string {
	var installed []string
	for _, injector := range d.snapshot.Injectors() {
		installed = append(installed, injector.Revision)
	}
	slices.Sort(installed)
	installed = slices.Compact(installed)
	byDefault := d.injects(DefaultRevision)
	if byDefault && len(installed) == 1 {
		return []string{DefaultRevision}
	}
	choices := slices.DeleteFunc(installed, func(revision string) bool { return revision == DefaultRevision || !d.injects(revision) })
	if byDefault {
		choices = append(choices, DefaultRevision)
	}
	return choices
}

// asking are the labels, of the two that decide, by which the namespace asks for a
// revision: none where the mesh injects namespaces that say nothing.
func (d derivation) asking(revision string) map[string]string {
	injectors := d.snapshot.Injectors()
	enabled := map[string]string{mesh.NamespaceInjectionLabel: mesh.InjectionEnabled}
	switch {
	case revision == DefaultRevision && injectors.ByDefault(d.namespace.Name):
		return nil
	case revision == DefaultRevision && injectors.Inject(enabled, nil, nil, false):
		return enabled
	default:
		return map[string]string{label.IoIstioRev.Name: revision}
	}
}

// injects says whether a revision would inject the namespace if it asked for it.
func (d derivation) injects(revision string) bool {
	labels := maps.Clone(d.namespace.Labels)
	delete(labels, mesh.NamespaceInjectionLabel)
	delete(labels, label.IoIstioRev.Name)
	maps.Copy(labels, d.asking(revision))
	return d.snapshot.Injectors().Inject(labels, nil, nil, false)
}
