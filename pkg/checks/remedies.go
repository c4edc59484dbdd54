package checks

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// istioSystem is where istioctl installs.
const istioSystem = "istio-system"

// part is a part of Istio that ambient mode needs.
type part string

const (
	partIstiod  part = "istiod"
	partCNI     part = "cni"
	partZtunnel part = "ztunnel"
)

// installAmbient says how to add a part of ambient mode that there is one of per
// cluster, whatever the number of revisions.
func installAmbient(snapshot *mesh.Snapshot, lacking part) string {
	istiods := snapshot.Istiods()
	if len(istiods) == 0 {
		return "install Istio with its ambient profile"
	}
	return enableAmbient(snapshot, lacking, istiods[0])
}

// enableAmbient says how to give the installation of an istiod the part of
// ambient mode that it lacks, with the tool that it was installed with. Where
// that cannot be told, both ways are named.
func enableAmbient(snapshot *mesh.Snapshot, lacking part, istiod appsv1.Deployment) string {
	installation := mesh.InstallationOf(istiod.ObjectMeta)
	switch installation.Installer {
	case mesh.InstallerHelm:
		return helmCommand(snapshot, lacking, istiod)
	case mesh.InstallerIstioctl:
		return istioctlCommand(snapshot, istiod)
	case mesh.InstallerSail:
		return sailRemedy(lacking, installation.Release)
	case mesh.InstallerUnknown:
	}
	return "installed with Helm: " + helmCommand(snapshot, lacking, istiod) + "; installed with istioctl: " + istioctlCommand(snapshot, istiod)
}

// istioctlCommand enables each part by itself: the profile named ambient has no
// ingress gateway, so installing it over another one deletes that gateway
// (istio manifests/profiles/ambient.yaml, operator/pkg/uninstall/prune.go).
func istioctlCommand(snapshot *mesh.Snapshot, istiod appsv1.Deployment) string {
	words := []string{"istioctl install"}
	if revision := mesh.RevisionOf(istiod); revision != mesh.DefaultRevision {
		words = append(words, "--revision "+revision)
	}
	if istiod.Namespace != istioSystem {
		words = append(words, "--set values.global.istioNamespace="+istiod.Namespace)
	}
	words = append(words, "--set values.profile=ambient --set components.cni.enabled=true --set components.ztunnel.enabled=true")
	if platform := platformOf(snapshot).name; platform != "" {
		words = append(words, "--set values.global.platform="+platform)
	}
	return strings.Join(words, " ") + ", with every -f and --set of the existing installation"
}

// helmCommand upgrades the release that is there, or adds the one that is not
// (istio manifests/charts).
func helmCommand(snapshot *mesh.Snapshot, lacking part, istiod appsv1.Deployment) string {
	installed, found := istiod.ObjectMeta, true
	chart, name := "istio/istiod", istiod.Name
	switch lacking {
	case partIstiod:
	case partCNI:
		var set appsv1.DaemonSet
		set, found = snapshot.CNI()
		installed, chart, name = set.ObjectMeta, "istio/cni", "istio-cni"
	case partZtunnel:
		var set appsv1.DaemonSet
		set, found = snapshot.Ztunnel()
		installed, chart, name = set.ObjectMeta, "istio/ztunnel", "ztunnel"
	}
	installation := mesh.InstallationOf(installed)
	action, namespace, options := "upgrade", installed.Namespace, []string{"--reuse-values"}
	if !found {
		action, namespace, options = "install", istiod.Namespace, nil
	}
	if version := chartVersionOf(istiod); version != "" {
		options = append([]string{"--version " + version}, options...)
	}
	if lacking != partZtunnel {
		options = append(options, "--set profile=ambient")
	}
	if revision := mesh.RevisionOf(istiod); !found && revision != mesh.DefaultRevision {
		options = append(options, "--set revision="+revision)
	}
	if lacking == partZtunnel && istiod.Namespace != istioSystem {
		options = append(options, "--set istioNamespace="+istiod.Namespace)
	}
	if platform := platformOf(snapshot).name; !found && platform != "" {
		options = append(options, "--set global.platform="+platform)
	}
	return strings.Join(append([]string{"helm -n", namespace, action, cmp.Or(installation.Release, name), chart}, options...), " ")
}

// chartVersionOf is the version of the charts that belong to an istiod. A
// vendor's charts are in a repository of its own, with versions of its own.
func chartVersionOf(istiod appsv1.Deployment) string {
	if version := mesh.InstallationOf(istiod.ObjectMeta).Version; version != "" {
		return version
	}
	version, err := releaseOf(istiod)
	if err != nil {
		return ""
	}
	return version.String()
}

func sailRemedy(lacking part, name string) string {
	switch lacking {
	case partIstiod:
		return "set spec.profile: ambient in the Sail operator's Istio that IstioRevision " + name + " belongs to"
	case partCNI:
		return "set spec.profile: ambient in the Sail operator's IstioCNI default"
	case partZtunnel:
	}
	return "create a ZTunnel named default for the Sail operator"
}

// platform is a distribution of Kubernetes whose CNI plugins are not where
// istio-cni looks for them (istio manifests/helm-profiles/platform-*.yaml).
type platform struct {
	// name is the value of global.platform.
	name string
	// title is its own name.
	title string
	// is says whether a node is one of its nodes.
	is func(corev1.Node) bool
	// volume of istio-cni's DaemonSet must be the directory.
	volume, directory string
	// plugin is the CNI plugin that it brings without a DaemonSet.
	plugin string
}

func hasLabel(key string) func(corev1.Node) bool {
	return func(node corev1.Node) bool { return metav1.HasLabel(node.ObjectMeta, key) }
}

func kubelet(mark string) func(corev1.Node) bool {
	return func(node corev1.Node) bool { return strings.Contains(node.Status.NodeInfo.KubeletVersion, mark) }
}

// platforms are looked for in this order: k3d's nodes are k3s' nodes, too, and
// its paths differ from those of k3s in one volume only.
func platforms() []platform {
	return []platform{
		{name: "openshift", title: "OpenShift", is: hasLabel("node.openshift.io/os_id"), volume: "cni-net-dir", directory: "/etc/cni/multus/net.d"},
		{name: "gke", title: "GKE", is: hasLabel("cloud.google.com/gke-nodepool"), volume: "cni-bin-dir", directory: "/home/kubernetes/bin", plugin: "GKE's own"},
		{name: "microk8s", title: "MicroK8s", is: hasLabel("microk8s.io/cluster"), volume: "cni-net-dir", directory: "/var/snap/microk8s/current/args/cni-network"},
		{
			name: "k3d", title: "k3d", volume: "cni-net-dir", directory: k3sNetDir, plugin: "k3s' Flannel",
			is: func(node corev1.Node) bool { return kubelet("+k3s")(node) && strings.HasPrefix(node.Name, "k3d-") },
		},
		{name: "k3s", title: "K3s", is: kubelet("+k3s"), volume: "cni-net-dir", directory: k3sNetDir, plugin: "k3s' Flannel"},
		{
			name: "minikube", title: "minikube with Docker", volume: "cni-netns-dir", directory: "/var/run/docker/netns", plugin: "minikube's bridge",
			is: func(node corev1.Node) bool {
				return metav1.HasLabel(node.ObjectMeta, "minikube.k8s.io/name") && strings.HasPrefix(node.Status.NodeInfo.ContainerRuntimeVersion, "docker://")
			},
		},
		// These need no setting.
		{title: "minikube", is: hasLabel("minikube.k8s.io/name"), plugin: "minikube's bridge"},
		{title: "AKS", is: hasLabel("kubernetes.azure.com/cluster"), plugin: "Azure's own"},
	}
}

const k3sNetDir = "/var/lib/rancher/k3s/agent/etc/cni/net.d"

// platformOf tells the cluster's distribution by its nodes. It is empty where
// none is recognized, or none needs anything.
func platformOf(snapshot *mesh.Snapshot) platform {
	for _, candidate := range platforms() {
		if slices.ContainsFunc(snapshot.Nodes(), candidate.is) {
			return candidate
		}
	}
	return platform{}
}
