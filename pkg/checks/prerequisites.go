package checks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// prerequisiteChecks are about what the cluster and the installation must be.
func prerequisiteChecks() []Check {
	return []Check{
		protectedNamespace(), namespaceTerminating(), istioInstalled(), istioVersion(),
	}
}

// OldestIstio is the oldest version of Istio that a namespace is moved on.
// Before it, sidecars and ztunnel disagree in ways that were never mended.
const OldestIstio = "1.25.0"

func protectedNamespace() Check {
	return Check{
		ID: "protected-namespace", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		Needs:  []string{mesh.IstiodDeployments, mesh.KindDaemonSet, mesh.IstioConfigMaps},
		Passed: "the namespace is not one of Kubernetes' or Istio's own",
		Run: func(subject Subject) []Finding {
			why := protectedBecause(subject.Snapshot, subject.Namespace.Name)
			if why == "" {
				return nil
			}
			return []Finding{{
				Status: v1alpha1.StatusFail, Object: reference(subject.Namespace.Reference()), Message: why,
				Remedy: "choose a namespace that holds applications",
			}}
		},
	}
}

// Protected says whether a namespace is one of Kubernetes' or Istio's own, which
// is never migrated.
func Protected(snapshot *mesh.Snapshot, name string) bool {
	return protectedBecause(snapshot, name) != ""
}

func protectedBecause(snapshot *mesh.Snapshot, name string) string {
	system := []string{metav1.NamespaceSystem, metav1.NamespacePublic, "kube-node-lease"}
	if slices.Contains(system, name) {
		return "the namespace belongs to Kubernetes itself"
	}
	for _, istiod := range snapshot.Istiods() {
		if istiod.Namespace == name {
			return "the namespace runs istiod"
		}
	}
	if slices.Contains(snapshot.RootNamespaces(), name) {
		return "the namespace is Istio's root namespace: its policies apply to the whole mesh"
	}
	if cni, found := snapshot.CNI(); found && cni.Namespace == name {
		return "the namespace runs istio-cni"
	}
	if ztunnel, found := snapshot.Ztunnel(); found && ztunnel.Namespace == name {
		return "the namespace runs ztunnel"
	}
	return ""
}

func namespaceTerminating() Check {
	return Check{
		ID: "namespace-terminating", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		Needs: []string{"Namespace"}, Passed: "the namespace is not being deleted",
		Run: func(subject Subject) []Finding {
			if !subject.Namespace.Terminating {
				return nil
			}
			return []Finding{{
				Status: v1alpha1.StatusFail, Object: reference(subject.Namespace.Reference()),
				Field: "metadata.deletionTimestamp", Message: "the namespace is being deleted",
				Remedy: "there is nothing to migrate in it",
			}}
		},
	}
}

func istioInstalled() Check {
	return Check{
		ID: "istio-installed", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		Needs: []string{mesh.IstiodDeployments}, Passed: "istiod is installed",
		Run: func(subject Subject) []Finding {
			if len(subject.Snapshot.Istiods()) > 0 {
				return nil
			}
			return []Finding{{
				Status:  v1alpha1.StatusFail,
				Message: "no Istio control plane found: no Deployment labelled app=istiod in any namespace",
				Remedy:  "install Istio with its ambient profile, or check the kubeconfig context",
			}}
		},
	}
}

func istioVersion() Check {
	return Check{
		ID: "istio-version", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		Needs: []string{mesh.IstiodDeployments}, Passed: "every istiod is " + OldestIstio + " or newer",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, istiod := range subject.Snapshot.Istiods() {
				object := deploymentReference(istiod)
				version, err := versionOf(istiod)
				switch {
				case err != nil:
					findings = append(findings, Finding{
						Status: v1alpha1.StatusUnknown, Object: object, Field: "spec.template.spec.containers[].image",
						Message: "the version of istiod cannot be told: " + err.Error(),
						Remedy:  "label the Deployment app.kubernetes.io/version with it",
					})
				case version.LessThan(semver.MustParse(OldestIstio)):
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail, Object: object, Field: "spec.template.spec.containers[].image",
						Message: fmt.Sprintf("istiod is %s; %s is the oldest supported", version, OldestIstio),
						Remedy:  "upgrade Istio first",
					})
				}
			}
			return findings
		},
	}
}

// versionOf reads the version from the tag of istiod's image, or from the label
// that Istio's charts set: that one is the chart's, which need not be istiod's.
// A vendor's suffix (1.27.1-solo) is dropped: as a pre-release it would sort
// before the version it is built from.
func versionOf(istiod appsv1.Deployment) (*semver.Version, error) {
	var texts []string
	for _, container := range istiod.Spec.Template.Spec.Containers {
		if _, tag, tagged := strings.Cut(lastSegment(container.Image), ":"); tagged {
			texts = append(texts, tag)
		}
	}
	texts = append(texts, istiod.Labels["app.kubernetes.io/version"])
	var failure error
	for _, text := range texts {
		version, err := semver.NewVersion(text)
		if err == nil {
			return semver.New(version.Major(), version.Minor(), version.Patch(), "", ""), nil
		}
		failure = cmp.Or(failure, fmt.Errorf("%q is not a version", text))
	}
	return nil, failure
}

func lastSegment(image string) string {
	image, _, _ = strings.Cut(image, "@")
	return image[strings.LastIndex(image, "/")+1:]
}

func deploymentReference(deployment appsv1.Deployment) *v1alpha1.ObjectReference {
	return &v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: deployment.Namespace, Name: deployment.Name}
}
