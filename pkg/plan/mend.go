package plan

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"istio.io/api/label"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// mended is the ID of the last step that makes again what runs before have handed
// over and somebody has taken away since; empty where nothing of the kind is done.
// That a run has handed something over is told by what is left of it, in a namespace
// that is in ambient mode already.
func (e enrolment) mended(steps []v1alpha1.Step) string {
	handed := e.namespace.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneAmbient &&
		slices.ContainsFunc(e.translation.Before, e.left)
	last := ""
	for _, step := range steps {
		if handed && (Span{Until: v1alpha1.PhaseActivateWaypoints}).Holds(step.Phase) && step.Phase != v1alpha1.PhasePin && step.Phase != v1alpha1.PhaseRefreshSidecars {
			last = step.ID
		}
	}
	return last
}

// stageAfter is the place of the mesh as a step leaves it.
func stageAfter(stages []compare.Stage, step string) int {
	last := 0
	for i, stage := range stages {
		if stage.Step == step {
			last = i
		}
	}
	return last
}

// report compares how the steps decide calls with how they are decided today. Where
// runs have handed something over before, that is not all there is to go by: what they
// have made refuses calls for as long as not all of a migration is done, or somebody has
// broken it; what is decided as policies say by themselves is told apart then. Where
// steps make again what was handed over, the steps after them are compared with how
// calls are decided once that is done; on the way there, what is decided as at either
// end is expected.
func (e enrolment) report(at *stageMaker, stages []compare.Stage, steps []v1alpha1.Step, mended string) (*v1alpha1.AccessReport, error) {
	options := comparing(e.snapshot, at.namespaces)
	if e.anyHanded() {
		var err error
		if options.Meant, err = e.meant(at.builder, at.namespaces); err != nil {
			return nil, err
		}
	}
	// Newer sidecars decide as those before them did, and accept HBONE: what callers in
	// ambient mode come to prove to them is seen from there on.
	fresh := stageAfter(stages, lastRefresh(steps))
	switch {
	case mended == "" && fresh > 0:
		return e.told(joinedReports(reportOf(stages[fresh:], options), reportOf(stages[:fresh+1], options))), nil
	case mended == "":
		return e.told(reportOf(stages, options)), nil
	}
	until := stageAfter(stages, mended)
	made := reportOf(stages[until:], options)
	repaired := reportOf(stages[:until+1], options)
	options.Meant, options.BothEnds = nil, true
	onTheWay := reportOf(stages[:until+1], options)
	for _, change := range repaired.Changes {
		if change.Until == "" {
			made.Changes = append(made.Changes, change)
		}
	}
	made.Changes = append(made.Changes, onTheWay.Changes...)
	repaired.Changes = nil
	return e.told(joinedReports(made, repaired)), nil
}

// lastRefresh is the ID of the last step that gives pods newer sidecars; empty where
// none does.
func lastRefresh(steps []v1alpha1.Step) string {
	last := ""
	for _, step := range steps {
		if step.Phase == v1alpha1.PhaseRefreshSidecars {
			last = step.ID
		}
	}
	return last
}

// anyHanded says whether anything is left of what runs have handed over.
func (e enrolment) anyHanded() bool {
	return slices.ContainsFunc(append([]handover{e.handover}, e.others...), func(of handover) bool {
		return slices.ContainsFunc(of.translation.Before, e.left)
	})
}

// told takes for meant only what concerns services that were handed over.
func (e enrolment) told(report *v1alpha1.AccessReport) *v1alpha1.AccessReport {
	for i, change := range report.Changes {
		report.Changes[i].Repairs = change.Repairs && e.handedBefore(change.Service)
	}
	return report
}

// meant is how calls would be decided by what policies say now, were all pods on
// sidecars: by what others have written, without what runs have made of it. What was
// taken away, and what has come since, is in it alike. It is nil where a run has
// deleted what others had written in these namespaces: what stands in for that is all
// that says it.
func (e enrolment) meant(builder *access.Builder, namespaces []string) (*access.State, error) {
	if simplifiedIn(e.snapshot, namespaces) {
		return nil, nil
	}
	without, err := policiesAlone(e.snapshot)
	if err != nil {
		return nil, err
	}
	return builder.Of(without, namespaces, access.Overlay{AllSidecars: true}), nil
}

// simplifiedIn says whether a run has deleted policies that others had written in some
// namespaces.
func simplifiedIn(snapshot *mesh.Snapshot, namespaces []string) bool {
	simplified := func(namespace string, annotations map[string]string) bool {
		return annotations[v1alpha1.SimplifiedAnnotation] != "" && slices.Contains(namespaces, namespace)
	}
	return slices.ContainsFunc(snapshot.AuthorizationPolicies(), func(policy *clientsecurityv1.AuthorizationPolicy) bool {
		return simplified(policy.Namespace, policy.Annotations)
	}) || slices.ContainsFunc(snapshot.Extensions(), func(extension mesh.Extension) bool {
		return simplified(extension.Reference.Namespace, extension.Annotations())
	})
}

// policiesAlone is the mesh by what others have written, without what runs have made of
// it.
func policiesAlone(snapshot *mesh.Snapshot) (*mesh.Snapshot, error) {
	var ours []v1alpha1.ObjectReference
	for _, policy := range snapshot.AuthorizationPolicies() {
		if policy.Labels[v1alpha1.OriginLabel] != "" {
			ours = append(ours, mesh.SecurityReference(mesh.KindAuthorizationPolicy, policy.Namespace, policy.Name))
		}
	}
	for _, extension := range snapshot.Extensions() {
		if there, found := snapshot.Object(extension.Reference); found && Ours(there) {
			ours = append(ours, extension.Reference)
		}
	}
	return snapshot.With(nil, ours)
}

// handedBefore says whether a service that a waypoint is to stand in front of was
// behind it already, as its own labels tell, or what is left of its policies at the
// waypoint. The label of its namespace holds for what comes later as well, and tells
// it only where policies do so, too. What no run has handed over is no repair: calls
// to it are compared with today.
func (e enrolment) handedBefore(service *v1alpha1.ObjectReference) bool {
	if service == nil {
		return true
	}
	for _, of := range append([]handover{e.handover}, e.others...) {
		for _, one := range of.translation.Services {
			if one.Need.Service == *service && one.WaypointName != "" {
				_, _, named := mesh.NamedWaypoint(one.Need.Labels, mesh.Namespace{Name: of.of.Name})
				_, _, byNamespace := mesh.NamedWaypoint(one.Need.Labels, of.of)
				return named || e.anyLeft(of, *service) || byNamespace && e.anyForAll(of)
			}
		}
		for _, direct := range of.translation.Direct {
			if slices.Contains(direct.Services, *service) {
				return e.anyLeft(of, direct.Reference()) || slices.ContainsFunc(direct.Workloads, e.named)
			}
		}
	}
	return true
}

// anyLeft says whether anything that runs have attached to a service, or to a waypoint
// of pods, is there.
func (e enrolment) anyLeft(of handover, to v1alpha1.ObjectReference) bool {
	return slices.ContainsFunc(attachedTo(of.translation.Before, to), e.left)
}

// anyForAll says whether anything is there that runs have attached to the waypoint for
// all services behind it.
func (e enrolment) anyForAll(of handover) bool {
	return slices.ContainsFunc(attachedTo(of.translation.Before, v1alpha1.ObjectReference{}), func(object translate.Object) bool {
		return e.left(object) && len(mesh.TargetsIn(object.Content)) > 0
	})
}

// left says whether an object is there that a run has made.
func (e enrolment) left(object translate.Object) bool {
	there, found := e.snapshot.Object(object.Reference)
	return found && Ours(there)
}

// named says whether the template of a workload names a waypoint.
func (e enrolment) named(reference v1alpha1.ObjectReference) bool {
	workload, found := e.snapshot.Workload(reference)
	return found && workload.Template.Labels[label.IoIstioUseWaypoint.Name] != ""
}
