package checks

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"istio.io/api/label"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// OwnershipChecks are about who else writes the objects that a migration changes.
func OwnershipChecks() []Check {
	return []Check{
		reconcilers(), helmReleases(),
	}
}

const idReconcilers = "reconcilers"

// commit is the remedy for what is written from somewhere else.
const commit = "commit the change where it comes from instead: kubectl ambient plan --output-dir DIR writes it"

func ownershipNeeds() []string {
	return moveNeeds(mesh.KindNamespace, mesh.IstioConfigMaps)
}

func reconcilers() Check {
	return Check{
		ID: idReconcilers, Category: CategoryOwnership, Severity: v1alpha1.SeverityError,
		About: "Whether Argo CD, Flux, an operator or another reconciler writes an object that the migration would change or delete: the namespace, workloads, Services, policies, whatever a plan's steps write.",
		Why: "A reconciler puts objects back to what its repository says, whenever it runs: in the middle of a migration that gives pods their sidecars back, or takes the " +
			"namespace out of ambient mode while pods have none. Argo CD marks its objects by annotation argocd.argoproj.io/tracking-id or a label (Argo CD documentation, Resource " +
			"Tracking), Flux by labels (Flux documentation, Kustomization and HelmRelease), and Flux undoes what is written under names that begin with kubectl " +
			"(fluxcd/kustomize-controller), the Operator Lifecycle Manager by the label olm.owner, and the addon manager of Kubernetes by addonmanager.kubernetes.io/mode=Reconcile. What an operator " +
			"makes names the custom resource that controls it in metadata.ownerReferences (Kubernetes documentation, Owners and Dependents); one that only owns it is warned about. What istiod makes for a " +
			"Gateway is left out: it applies its own fields and leaves others (istio pilot/pkg/config/kube/gateway/deploymentcontroller.go). Others are told by metadata.managedFields: a manager that is known for reconciling and that owns what would change, or applies the object, " +
			"fails, and so does any that applies the very fields that would change, or owns them and has the name of a controller or an operator; others that own them, or apply the object, are warned about. A dump that was taken without --show-managed-fields cannot tell of those.",
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
					Message: "who else writes what would change cannot be seen: it was read without managedFields",
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
	owners      []metav1.OwnerReference
	managers    []mesh.Manager
	problem     error
	// fields are the paths that are written, within the fields that hold them. Deleted
	// is true where the whole object is.
	fields, within [][]string
	deleted        bool
}

// stakesOf are the objects that the steps of a plan change or delete; without a plan,
// the namespace and the workloads that are moved or pinned.
func stakesOf(subject Subject) []stake {
	writes := foreseen(subject)
	if subject.Migration != nil {
		writes = subject.Migration.Writes
	}
	var stakes []stake
	for _, write := range writes {
		// What a step creates is nobody's yet, and pods are not declared anywhere.
		if object, found := subject.Snapshot.Object(write.Object); found && write.Object.Kind != mesh.KindPod {
			stakes = append(stakes, newStake(write, object))
		}
	}
	return stakes
}

// foreseen are the writes that most plans begin with.
func foreseen(subject Subject) []Write {
	namespace := subject.Namespace
	var writes []Write
	enrolled := subject.Snapshot.EnrolledLabels(namespace)
	var changed [][]string
	for _, key := range []string{label.IoIstioDataplaneMode.Name, mesh.NamespaceInjectionLabel, label.IoIstioRev.Name} {
		if namespace.Labels[key] != enrolled[key] {
			changed = append(changed, []string{"metadata", "labels", key})
		}
	}
	if len(changed) > 0 {
		writes = append(writes, Write{Object: namespace.Reference(), Fields: changed})
	}
	for _, workload := range subject.Snapshot.Workloads(namespace.Name) {
		if workload.Reference.Kind == mesh.KindJob {
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
			writes = append(writes, Write{Object: workload.Reference, Fields: fields})
		}
	}
	return writes
}

func newStake(write Write, object mesh.Object) stake {
	u := unstructured.Unstructured{Object: object}
	managers, err := mesh.Managers(object)
	made := stake{
		reference: write.Object, labels: u.GetLabels(), annotations: u.GetAnnotations(), owners: u.GetOwnerReferences(),
		managers: managers, problem: err, fields: write.Fields, deleted: write.Deleted,
	}
	for _, path := range write.Fields {
		if holder := holderOf(path); !slices.ContainsFunc(made.within, func(one []string) bool { return slices.Equal(one, holder) }) {
			made.within = append(made.within, holder)
		}
	}
	if write.Deleted {
		made.within = [][]string{nil}
	}
	return made
}

// holderOf is the field whose writer is likely to have a say in one beneath it: the pod
// template, the labels or annotations, the spec of a policy.
func holderOf(path []string) []string {
	template := slices.Index(path, "template")
	switch {
	case template >= 0:
		return path[:template+1]
	case path[0] == "metadata":
		return path[:min(2, len(path))]
	case path[0] == "spec" && len(path) > 1 && (path[1] == "paused" || path[1] == "restartAt"):
		// They are beside the rest of a workload's spec.
		return path
	default:
		return path[:1]
	}
}

// fieldName writes a path as findings name fields: what is in a map of texts stands in
// brackets.
func fieldName(path []string) string {
	last := len(path) - 1
	if last > 0 && slices.Contains([]string{"labels", "annotations", "matchLabels"}, path[last-1]) {
		return strings.Join(path[:last], ".") + "[" + path[last] + "]"
	}
	return strings.Join(path, ".")
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
	olmOwner       = "olm.owner"
	addonMode      = "addonmanager.kubernetes.io/mode"
)

// reconciled says who would put the object back.
func (s stake) reconciled() *Finding {
	if field, who := s.marked(); who != "" {
		return &Finding{
			Status: v1alpha1.StatusFail, Object: reference(s.reference), Field: field,
			Message: who + " reconciles it, and would put back what the migration changes", Remedy: commit,
		}
	}
	controlled, owned := s.controlled()
	if controlled != nil {
		return controlled
	}
	if s.problem != nil {
		return &Finding{
			Status: v1alpha1.StatusWarn, Object: reference(s.reference), Field: "metadata.managedFields",
			Message: "who else writes it cannot be seen: " + strings.ReplaceAll(s.problem.Error(), "\n", " "), Remedy: "see whether a reconciler does",
		}
	}
	unknown := owned
	for _, manager := range s.managers {
		owned := s.owned(manager)
		holder := s.appliedWithin(manager)
		labelled := strings.Contains(manager.Name, "argocd") && s.labels[instance] != ""
		field := owned
		if owned == "" {
			field = strings.Join(s.within[max(holder, 0)], ".")
		}
		switch {
		case reconcilerNames.MatchString(manager.Name) && (owned != "" || manager.Applies || labelled || s.deleted):
			return &Finding{
				Status: v1alpha1.StatusFail, Object: reference(s.reference), Field: field,
				Message: fmt.Sprintf("%s writes it (metadata.managedFields), and would put back what the migration changes", manager.Name), Remedy: commit,
			}
		case !isBystander(manager.Name) && owned != "" && (manager.Applies || operatorNames.MatchString(manager.Name)):
			return &Finding{
				Status: v1alpha1.StatusFail, Object: reference(s.reference), Field: owned,
				Message: fmt.Sprintf("%s owns it (metadata.managedFields), and would put back what the migration changes", manager.Name),
				Remedy:  commit + "; if it does not come again: --accept " + acceptable(idReconcilers, s.reference),
			}
		case unknown == nil && !isBystander(manager.Name) && (owned != "" || holder >= 0):
			unknown = &Finding{
				Status: v1alpha1.StatusWarn, Object: reference(s.reference), Field: field,
				Message: fmt.Sprintf("%s writes what the migration changes (metadata.managedFields); it is not known whether it does so again", manager.Name),
				Remedy:  "see who that is; if it keeps the object as it is, " + commit,
			}
		}
	}
	return unknown
}

// appliedWithin is which of the fields at stake a manager means to keep what it wrote
// in; -1 where it is none.
func (s stake) appliedWithin(manager mesh.Manager) int {
	if !manager.Applies {
		return -1
	}
	return slices.IndexFunc(s.within, func(path []string) bool { return manager.OwnsWithin(path...) })
}

// controlled says which custom resource controls the object, or at least owns it: its
// operator makes the object, and makes it what it was whenever it looks.
func (s stake) controlled() (controlled, owned *Finding) {
	for _, owner := range s.owners {
		if !mesh.IsCustom(owner) {
			continue
		}
		finding := &Finding{Object: reference(s.reference), Field: "metadata.ownerReferences", Remedy: "change it by way of " + owner.Kind + " " + owner.Name + " instead: kubectl ambient plan --output-dir DIR writes what it is to be"}
		if s.reference.Kind == mesh.KindRollout || slices.Contains(workloadKinds(), s.reference.Kind) {
			finding.Remedy += "; or enroll with --strategy=namespace, which writes no template"
		}
		if owner.Controller != nil && *owner.Controller {
			finding.Status = v1alpha1.StatusFail
			finding.Message = fmt.Sprintf("%s %s controls it, and its operator would put back what the migration changes", owner.Kind, owner.Name)
			return finding, nil
		}
		if owned == nil {
			finding.Status = v1alpha1.StatusWarn
			finding.Message = fmt.Sprintf("%s %s owns it; it is not known whether its operator would put back what the migration changes", owner.Kind, owner.Name)
			owned = finding
		}
	}
	return nil, owned
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
	if name := s.labels[olmOwner]; name != "" {
		return "metadata.labels[" + olmOwner + "]", "the Operator Lifecycle Manager, for " + name + ","
	}
	if s.labels[addonMode] == "Reconcile" {
		return "metadata.labels[" + addonMode + "]", "the addon manager"
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

// owned is the first field at stake that a manager wrote, or something in it. Of an
// object that is deleted all that it says is at stake.
func (s stake) owned(manager mesh.Manager) string {
	if s.deleted && manager.OwnsWithin("spec") {
		return "spec"
	}
	for _, path := range s.fields {
		if manager.Owns(path...) || manager.OwnsWithin(path...) {
			return fieldName(path)
		}
	}
	return ""
}

// reconcilerNames are the field managers of reconcilers that are known.
var reconcilerNames = regexp.MustCompile(`(?i)argocd|(?:^|[-_])flux|kustomize-controller|helm-controller|fleet|rancher|config-?sync|gitops|kapp-controller`)

// operatorNames are the field managers of controllers and operators, which nobody knows
// all: controller-runtime writes as the name of the program, which kubebuilder calls
// "manager" (sigs.k8s.io/controller-runtime, pkg/client/config and client-go's
// rest.DefaultKubernetesUserAgent).
var operatorNames = regexp.MustCompile(`(?i)operator|controller|^manager$`)

// kubernetesNames are the field managers of Kubernetes' own components: what names none in
// its requests writes as the name of the program (client-go rest.DefaultKubernetesUserAgent,
// kubernetes cmd; k8s.io/apiserver pkg/endpoints/handlers, managerOrUserAgent). Others call
// themselves kube-something, too, and may well put back what they wrote.
var kubernetesNames = []string{
	"kube-apiserver", "kube-controller-manager", "cloud-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubeadm",
}

// isBystander says whether a field manager is somebody who writes on demand: a
// person at a command line or a user interface, Kubernetes itself, this tool. Helm
// has a check of its own.
func isBystander(name string) bool {
	for _, prefix := range []string{"kubectl", "Mozilla", "k9s", "node-fetch"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains(kubernetesNames, name) || name == "before-first-apply" || name == helmManager
}

func helmReleases() Check {
	return Check{
		ID: "helm-releases", Category: CategoryOwnership, Severity: v1alpha1.SeverityWarning,
		About: "Whether Helm manages an object that the migration would change or delete.",
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
				if stated := stake.stated(subject); stake.deleted {
					message = who + " manages it: the next helm upgrade makes it again, where the chart says so"
				} else if stated != "" {
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
		for _, path := range s.within {
			if manager.Name == helmManager && manager.OwnsWithin(path...) {
				return strings.Join(path, "."), "Helm"
			}
		}
	}
	return "", ""
}

// stated is the first field at stake that the object has at present.
func (s stake) stated(subject Subject) string {
	object, _ := subject.Snapshot.Object(s.reference)
	for _, path := range s.fields {
		if value, found, err := unstructured.NestedFieldNoCopy(object, path...); err == nil && found && value != "" {
			return fieldName(path)
		}
	}
	return ""
}
