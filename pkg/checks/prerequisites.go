package checks

import (
	"fmt"
	"math"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// prerequisiteChecks are about what the cluster and the installation must be.
func prerequisiteChecks() []Check {
	return []Check{
		protectedNamespace(), namespaceTerminating(), istioInstalled(), istioVersion(), discoverySelectors(), kubernetesVersions(), proxySkew(),
		cniCompatibility(), multicluster(), virtualMachines(), spire(), gatewayAPI(),
	}
}

func protectedNamespace() Check {
	return Check{
		ID: "protected-namespace", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		About: "Whether the namespace is Kubernetes' own, or runs a part of Istio itself, or is Istio's root namespace.",
		Why: "istiod, ztunnel and istio-cni must not be captured by what they run: they would wait for one another. " +
			"Policies of the root namespace apply to the whole mesh, so a migration of one namespace must not change them. " +
			"istio-cni leaves kube-system out by default (istio manifests/charts/istio-cni/values.yaml).",
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
		About: "Whether the namespace is being deleted.",
		Why:   "Nothing can be created in such a namespace, so no waypoint and no policy could take over from the sidecars (Kubernetes, admission plugin NamespaceLifecycle).",
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
		About: "Whether the cluster runs an istiod: a Deployment labelled app=istiod in any namespace.",
		Why: "All that follows is about what istiod tells proxies. A cluster that is served by an istiod elsewhere cannot use ambient mode (check multicluster), " +
			"and a wrong kubeconfig context looks the same.",
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

// imageOf is the field that istiod's version is read from.
const imageOf = "spec.template.spec.containers[].image"

func istioVersion() Check {
	return Check{
		ID: "istio-version", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		About: "The version of istiod of every revision, read from its image's tag.",
		Why: "Ambient mode is generally available since Istio 1.24, and sidecars and ztunnel work together as this tool expects since 1.25. " +
			"A version that is newer than those it was tested with may behave otherwise, and so may a vendor's build: " +
			"some of them send sidecars' traffic through waypoints, which Istio's own sidecars bypass (istio/istio issue 51445).",
		Needs:  []string{mesh.IstiodDeployments},
		Passed: fmt.Sprintf("every istiod is Istio's own build of %s to 1.%d", OldestIstio, NewestIstioMinor),
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, istiod := range subject.Snapshot.Istiods() {
				findings = append(findings, versionFindings(istiod)...)
			}
			return findings
		},
	}
}

func versionFindings(istiod appsv1.Deployment) []Finding {
	object := deploymentReference(istiod)
	version, err := releaseOf(istiod)
	if err != nil {
		return []Finding{{
			Status: v1alpha1.StatusUnknown, Object: object, Field: imageOf,
			Message: "the version of istiod cannot be told: " + err.Error(),
			Remedy:  fmt.Sprintf("kubectl -n %s label deployment %s operator.istio.io/version=VERSION", istiod.Namespace, istiod.Name),
		}}
	}
	var findings []Finding
	switch {
	case !version.at(OldestIstio):
		findings = append(findings, Finding{
			Status: v1alpha1.StatusFail, Object: object, Field: imageOf,
			Message: fmt.Sprintf("istiod is %s; %s is the oldest supported", version, OldestIstio),
			Remedy:  "upgrade Istio first",
		})
	case version.newerThanTested():
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: object, Field: imageOf,
			Message: fmt.Sprintf("istiod is %s; 1.%d is the newest version that this tool was tested with", version, NewestIstioMinor),
			Remedy:  "look for a newer version of kubectl ambient",
		})
	}
	switch {
	case version.vendors():
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: object, Field: imageOf,
			Message: fmt.Sprintf("istiod is a vendor's build, %s: whether sidecars bypass waypoints, and more, may differ from what is said here of Istio's own", version),
			Remedy:  "compare with the vendor's documentation of sidecars beside ambient mode",
		})
	case version.preRelease():
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: object, Field: imageOf,
			Message: fmt.Sprintf("istiod is a build from before the release, %s: it may differ from what is said here of the release", version),
			Remedy:  "upgrade to the release",
		})
	}
	return findings
}

// kubernetesVersions compares the API server with what each istiod is supported
// on. A vendor's istiod may be supported on more.
func kubernetesVersions() Check {
	return Check{
		ID: "kubernetes-version", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		About: "The version of Kubernetes, against the versions that each istiod is supported on.",
		Why: "Istio is tested and mended on the versions of Kubernetes that its support status lists (istio.io, Supported Releases). " +
			"On an older one the charts and the CNI agent may not work at all; a newer one is merely untested. " +
			"A snapshot from files knows no API server: its kubelets say how old the cluster is at most, since none may be newer than the API server.",
		Needs:  []string{mesh.IstiodDeployments},
		Passed: "every istiod is supported on this version of Kubernetes",
		Run: func(subject Subject) []Finding {
			controls := controlPlanes(subject.Snapshot)
			if len(controls) == 0 {
				return noControlPlane()
			}
			var findings []Finding
			for _, control := range controls {
				if finding := kubernetesFinding(subject.Snapshot, control.version); finding != nil {
					finding.Object = deploymentReference(control.istiod)
					findings = append(findings, *finding)
				}
			}
			return findings
		},
	}
}

func kubernetesFinding(snapshot *mesh.Snapshot, istiod release) *Finding {
	supported, known := supportedKubernetes[istiod.Minor()]
	if istiod.newerThanTested() {
		// What is too old for one version is too old for those after it.
		supported = kubernetesMinors{oldest: supportedKubernetes[NewestIstioMinor].oldest, newest: math.MaxInt}
	} else if !known {
		// istio-version reports that it is too old, and blocks.
		return nil
	}
	stated := snapshot.KubernetesVersion()
	minor, read := kubernetesMinor(stated)
	switch {
	case !read:
		return unreadKubernetes(snapshot, stated, supported, istiod)
	case minor < supported.oldest:
		finding := Finding{
			Status:  v1alpha1.StatusFail,
			Message: fmt.Sprintf("Kubernetes is %s; Istio %s is supported on 1.%d and newer", stated, istiod, supported.oldest),
			Remedy:  "upgrade Kubernetes first",
		}
		if istiod.vendors() {
			finding.Status = v1alpha1.StatusWarn
			finding.Remedy = "see whether the vendor supports its build there"
		}
		return &finding
	case minor > supported.newest:
		return &Finding{
			Status:  v1alpha1.StatusWarn,
			Message: fmt.Sprintf("Kubernetes is %s; Istio %s was tested on versions up to 1.%d", stated, istiod, supported.newest),
			Remedy:  "upgrade Istio to a version that supports it",
		}
	default:
		return nil
	}
}

// unreadKubernetes goes by the kubelets where the API server was not asked.
func unreadKubernetes(snapshot *mesh.Snapshot, stated string, supported kubernetesMinors, istiod release) *Finding {
	reason := "no API server was asked"
	if stated != "" {
		reason = fmt.Sprintf("the API server says %q", stated)
	}
	newest := 0
	for _, node := range snapshot.Nodes() {
		if minor, read := kubernetesMinor(node.Status.NodeInfo.KubeletVersion); read {
			newest = max(newest, minor)
		}
	}
	if newest < supported.oldest {
		return &Finding{
			Status:  v1alpha1.StatusUnknown,
			Message: fmt.Sprintf("the version of Kubernetes cannot be told: %s; Istio %s needs 1.%d", reason, istiod, supported.oldest),
			Remedy:  "kubectl version",
		}
	}
	return &Finding{
		Status: v1alpha1.StatusWarn,
		Message: fmt.Sprintf("the version of Kubernetes cannot be seen: %s; by its kubelets it is 1.%d or newer, which is not too old for Istio %s",
			reason, newest, istiod),
		Remedy: "kubectl version",
	}
}

func deploymentReference(deployment appsv1.Deployment) *v1alpha1.ObjectReference {
	return &v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: deployment.Namespace, Name: deployment.Name}
}
