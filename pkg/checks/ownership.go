package checks

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"istio.io/api/label"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ownershipChecks are about who else writes the objects that a migration changes.
func ownershipChecks() []Check {
	return []Check{
		reconcilers(), helmReleases(),
	}
}

// commit is the remedy for what is written from somewhere else.
const commit = "commit the change where it comes from instead: kubectl ambient plan --output-dir DIR writes it"

func ownershipNeeds() []string {
	return moveNeeds(mesh.KindNamespace, mesh.IstioConfigMaps)
}

func reconcilers() Check {
	return Check{
		ID: "reconcilers", Category: CategoryOwnership, Severity: v1alpha1.SeverityError,
		About: "Whether Argo CD, Flux or another reconciler writes the namespace or a workload that the migration would change.",
		Why: "A reconciler puts objects back to what its repository says, whenever it runs: in the middle of a migration that gives pods their sidecars back, or takes the " +
			"namespace out of ambient mode while pods have none. Argo CD marks its objects by annotation argocd.argoproj.io/tracking-id or a label (Argo CD documentation, Resource " +
			"Tracking), Flux by labels (Flux documentation, Kustomization and HelmRelease), and Flux undoes what is written under names that begin with kubectl " +
			"(fluxcd/kustomize-controller). Others are told by metadata.managedFields: a manager that is known for reconciling and that owns what would change, or applies the object, " +
			"fails; one that is not known, but does so, is warned about. A dump that was taken without --show-managed-fields cannot tell of those.",
		Needs:  ownershipNeeds(),
		Passed: "no reconciler writes what would change",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			stakes := stakesOf(subject)
			managed := len(stakes) == 0
			for _, stake := range stakes {
				if finding := stake.reconciled(); finding != nil {
					findings = append(findings, *finding)
				}
				managed = managed || len(stake.managers) > 0
			}
			if !managed {
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: reference(subject.Namespace.Reference()), Field: "metadata.managedFields",
					Message: "who else writes the namespace and its workloads cannot be seen: they were read without managedFields",
					Remedy:  "take the dump with kubectl get --show-managed-fields",
				})
			}
			return findings
		},
	}
}

// stake is an object that the migration changes.
type stake struct {
	reference   v1alpha1.ObjectReference
	labels      map[string]string
	annotations map[string]string
	managers    []mesh.Manager
	problem     error
	// fields are the paths that are written, maps the fields that hold them.
	fields [][]string
	within []string
}

// stakesOf are the namespace and the workloads that are moved or pinned.
func stakesOf(subject Subject) []stake {
	namespace := subject.Namespace
	var stakes []stake
	enrolled := subject.Snapshot.EnrolledLabels(namespace)
	var changed [][]string
	for _, key := range []string{label.IoIstioDataplaneMode.Name, mesh.NamespaceInjectionLabel, label.IoIstioRev.Name} {
		if namespace.Labels[key] != enrolled[key] {
			changed = append(changed, []string{"metadata", "labels", key})
		}
	}
	if len(changed) > 0 {
		stakes = append(stakes, newStake(namespace.Reference(), namespace.Object, changed, []string{"metadata", "labels"}))
	}
	for _, workload := range subject.Snapshot.Workloads(namespace.Name) {
		if workload.Reference.Kind == mesh.KindJob || subject.byNamespace() {
			// Its template is not changed.
			continue
		}
		template := strings.Split(strings.TrimPrefix(workload.TemplatePath, "/"), "/")
		at := func(names ...string) []string { return append(slices.Clone(template), names...) }
		var fields [][]string
		switch subject.Snapshot.RoleOf(workload, namespace) {
		case mesh.RoleMove:
			fields = [][]string{
				at("metadata", "labels", label.SidecarInject.Name), at("metadata", "labels", label.IoIstioRev.Name),
				at("metadata", "annotations", annotation.SidecarInject.Name),
			}
		case mesh.RolePin:
			for _, key := range slices.Sorted(maps.Keys(subject.Snapshot.PinLabels(workload, namespace))) {
				fields = append(fields, at("metadata", "labels", key))
			}
		case mesh.RoleStay:
		}
		if len(fields) > 0 {
			stakes = append(stakes, newStake(workload.Reference, workload.Object, fields, template))
		}
	}
	return stakes
}

func newStake(reference v1alpha1.ObjectReference, object mesh.Object, fields [][]string, within []string) stake {
	u := unstructured.Unstructured{Object: object}
	managers, err := mesh.Managers(object)
	return stake{
		reference: reference, labels: u.GetLabels(), annotations: u.GetAnnotations(), managers: managers, problem: err, fields: fields, within: within,
	}
}

const (
	argoTracking = "argocd.argoproj.io/tracking-id"
	argoInstance = "argocd.argoproj.io/instance"
	// instance is a label that Argo CD may use for itself, and everybody else too.
	instance       = "app.kubernetes.io/instance"
	fluxKustomize  = "kustomize.toolkit.fluxcd.io/name"
	fluxHelm       = "helm.toolkit.fluxcd.io/name"
	fluxReconcile  = "kustomize.toolkit.fluxcd.io/reconcile"
	fluxApply      = "kustomize.toolkit.fluxcd.io/ssa"
	configSync     = "configmanagement.gke.io/managed"
	helmReleasedBy = "meta.helm.sh/release-name"
	helmManager    = "helm"
)

// reconciled says who would put the object back.
func (s stake) reconciled() *Finding {
	if field, who := s.marked(); who != "" {
		return &Finding{
			Status: v1alpha1.StatusFail, Object: reference(s.reference), Field: field,
			Message: who + " reconciles it, and would put back what the migration changes", Remedy: commit,
		}
	}
	if s.problem != nil {
		return &Finding{
			Status: v1alpha1.StatusWarn, Object: reference(s.reference), Field: "metadata.managedFields",
			Message: "who else writes it cannot be seen: " + strings.ReplaceAll(s.problem.Error(), "\n", " "), Remedy: "see whether a reconciler does",
		}
	}
	var unknown *Finding
	for _, manager := range s.managers {
		owned := s.owned(manager)
		applied := manager.Applies && manager.OwnsWithin(s.within...)
		labelled := strings.Contains(manager.Name, "argocd") && s.labels[instance] != ""
		field := cmp.Or(owned, strings.Join(s.within, "."))
		switch {
		case reconcilerNames.MatchString(manager.Name) && (owned != "" || manager.Applies || labelled):
			return &Finding{
				Status: v1alpha1.StatusFail, Object: reference(s.reference), Field: field,
				Message: fmt.Sprintf("%s writes it (metadata.managedFields), and would put back what the migration changes", manager.Name), Remedy: commit,
			}
		case unknown == nil && !isBystander(manager.Name) && (owned != "" || applied):
			unknown = &Finding{
				Status: v1alpha1.StatusWarn, Object: reference(s.reference), Field: field,
				Message: fmt.Sprintf("%s writes what the migration changes (metadata.managedFields); it is not known whether it does so again", manager.Name),
				Remedy:  "see who that is; if it keeps the object as it is, " + commit,
			}
		}
	}
	return unknown
}

// marked says by which label or annotation a reconciler calls the object its own.
func (s stake) marked() (field, who string) {
	if id := s.annotations[argoTracking]; id != "" && s.tracks(id) {
		application, _, _ := strings.Cut(id, ":")
		return "metadata.annotations[" + argoTracking + "]", "Argo CD application " + application
	}
	if name := s.labels[argoInstance]; name != "" {
		return "metadata.labels[" + argoInstance + "]", "Argo CD application " + name
	}
	suspended := s.annotations[fluxReconcile] == "disabled" || strings.EqualFold(s.annotations[fluxApply], "Ignore")
	if name := s.labels[fluxKustomize]; name != "" && !suspended {
		return "metadata.labels[" + fluxKustomize + "]", "Flux Kustomization " + name
	}
	if name := s.labels[fluxHelm]; name != "" {
		return "metadata.labels[" + fluxHelm + "]", "Flux HelmRelease " + name
	}
	if s.annotations[configSync] == "enabled" {
		return "metadata.annotations[" + configSync + "]", "Config Sync"
	}
	return "", ""
}

// tracks says whether a tracking ID of Argo CD (application:group/kind:namespace/name)
// is about this very object: controllers copy annotations to what they make, and
// Argo CD itself goes by that.
func (s stake) tracks(id string) bool {
	parts := strings.SplitN(id, ":", 3)
	if len(parts) != 3 {
		return false
	}
	_, name, found := strings.Cut(parts[2], "/")
	return found && name == s.reference.Name && strings.HasSuffix(parts[1], "/"+s.reference.Kind)
}

// owned is the first field at stake that a manager wrote.
func (s stake) owned(manager mesh.Manager) string {
	for _, path := range s.fields {
		if manager.Owns(path...) {
			last := len(path) - 1
			return strings.Join(path[:last], ".") + "[" + path[last] + "]"
		}
	}
	return ""
}

// reconcilerNames are the field managers of reconcilers that are known.
var reconcilerNames = regexp.MustCompile(`(?i)argocd|(?:^|[-_])flux|kustomize-controller|helm-controller|fleet|rancher|config-?sync|gitops|kapp-controller`)

// isBystander says whether a field manager is somebody who writes on demand: a
// person at a command line or a user interface, Kubernetes itself, this tool. Helm
// has a check of its own.
func isBystander(name string) bool {
	for _, prefix := range []string{"kubectl", "kube-", "Mozilla", "k9s", "node-fetch"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "before-first-apply" || name == helmManager
}

func helmReleases() Check {
	return Check{
		ID: "helm-releases", Category: CategoryOwnership, Severity: v1alpha1.SeverityWarning,
		About: "Whether Helm manages the namespace or a workload that the migration would change.",
		Why: "helm upgrade merges three ways (Helm documentation, Changes since Helm 2): what the chart says and is no longer so is put back, the namespace's and the template's injection " +
			"labels among it; what was only added stays. That happens with the next release, so until then the chart has to follow. Objects that reconcilers names are left to it.",
		Needs:  ownershipNeeds(),
		Passed: "Helm manages nothing that would change",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, stake := range stakesOf(subject) {
				field, who := stake.released()
				if finding := stake.reconciled(); who == "" || finding != nil && finding.Status == v1alpha1.StatusFail {
					continue
				}
				message := who + " manages it: the next helm upgrade keeps what the migration adds, but helm upgrade --force and a new installation do not"
				if stated := stake.stated(subject); stated != "" {
					field, message = stated, who+" manages it: the next helm upgrade puts back what the migration removes here, where the chart says so"
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: reference(stake.reference), Field: field, Message: message,
					Remedy: "carry the change into the chart or its values: kubectl ambient plan --output-dir DIR writes it",
				})
			}
			return findings
		},
	}
}

// released says which Helm release the object belongs to. Of a namespace, Helm as
// a field manager alone means no more than that it was created on the way.
func (s stake) released() (field, who string) {
	if name := s.annotations[helmReleasedBy]; name != "" {
		return "metadata.annotations[" + helmReleasedBy + "]", "Helm release " + name
	}
	if s.reference.Kind == mesh.KindNamespace {
		return "", ""
	}
	for _, manager := range s.managers {
		if manager.Name == helmManager && manager.OwnsWithin(s.within...) {
			return strings.Join(s.within, "."), "Helm"
		}
	}
	return "", ""
}

// stated is the first field at stake that the object has at present.
func (s stake) stated(subject Subject) string {
	object, _ := subject.Snapshot.Object(s.reference)
	for _, path := range s.fields {
		if value, found, err := unstructured.NestedString(object, path...); err == nil && found && value != "" {
			last := len(path) - 1
			return strings.Join(path[:last], ".") + "[" + path[last] + "]"
		}
	}
	return ""
}
