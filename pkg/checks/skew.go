package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	appsv1 "k8s.io/api/apps/v1"
)

// proxySkew: istiod may be one minor version ahead of the data plane, and never
// behind it. A sidecar of this namespace has not long to live: its skew is a
// warning. What is to carry all traffic from now on must be supported.
func proxySkew() Check {
	return Check{
		ID: "proxy-skew", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		About: "The versions of the namespace's sidecars, of ztunnel and of istio-cni, by their images' tags, against their istiod's.",
		Why: "Istio supports a control plane that is as new as the data plane or one minor version newer, never an older one (istio.io, Supported Releases, Control Plane/Data Plane Skew). " +
			"Outside of that, ztunnel may misread what istiod sends: before 1.29 it enforces policies that are meant for a dry run (istio pilot/pkg/features/ambient.go). " +
			"istiod 1.29.2 to 1.29.4, 1.30.0 and 1.30.1 send sidecars older than 1.29.2 that accept HBONE listeners which those reject, " +
			"so they take no configuration any more and do not become ready again (istio/istio issue 60503, pull request 60486).",
		Needs:  []string{mesh.IstiodDeployments, mesh.ZtunnelPods, mesh.CNIPods, "Pod"},
		Passed: "sidecars, ztunnel and istio-cni are of versions that istiod supports",
		Run: func(subject Subject) []Finding {
			controls := controlPlanes(subject.Snapshot)
			if len(controls) == 0 {
				return noControlPlane()
			}
			return slices.Concat(
				sidecarSkew(subject, controls),
				componentSkew("ztunnel", subject.Snapshot.ZtunnelPods(), "istio-proxy", controls),
				componentSkew("istio-cni", subject.Snapshot.CNIPods(), "install-cni", controls),
			)
		},
	}
}

// controlPlane is an istiod whose version is known.
type controlPlane struct {
	istiod  appsv1.Deployment
	version release
}

// noControlPlane skips a check where no istiod's version is known:
// istio-installed or istio-version reports it, and blocks.
func noControlPlane() []Finding {
	return []Finding{{Status: v1alpha1.StatusSkip, Message: "no istiod's version is known"}}
}

func controlPlanes(snapshot *mesh.Snapshot) []controlPlane {
	var found []controlPlane
	for _, istiod := range snapshot.Istiods() {
		if version, err := releaseOf(istiod); err == nil {
			found = append(found, controlPlane{istiod, version})
		}
	}
	return found
}

// ofRevision leaves the control planes of a revision; all where none is of it, as with
// a revision tag.
func ofRevision(controls []controlPlane, revision string) []controlPlane {
	own := slices.DeleteFunc(slices.Clone(controls), func(c controlPlane) bool { return mesh.RevisionOf(c.istiod) != revision })
	if len(own) == 0 {
		return controls
	}
	return own
}

// nearest is how a version stands to the control plane that suits it best.
func nearest(version release, controls []controlPlane) (skew, controlPlane) {
	for _, control := range controls {
		if version.skewTo(control.version) == skewSupported {
			return skewSupported, control
		}
	}
	return version.skewTo(controls[0].version), controls[0]
}

// proxies are pods whose proxy is of one version and one revision.
type proxies struct {
	image, revision string
	pods            []mesh.Pod
}

func (p proxies) names() []string {
	var names []string
	for _, pod := range p.pods {
		names = append(names, pod.Name)
	}
	return names
}

func sidecarSkew(subject Subject, controls []controlPlane) []Finding {
	var groups []*proxies
	for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
		if !pod.HasSidecar() {
			continue
		}
		revision := pod.Annotations[label.IoIstioRev.Name]
		i := slices.IndexFunc(groups, func(group *proxies) bool { return group.image == pod.ProxyImage && group.revision == revision })
		if i < 0 {
			groups, i = append(groups, &proxies{image: pod.ProxyImage, revision: revision}), len(groups)
		}
		groups[i].pods = append(groups[i].pods, pod)
	}
	var findings []Finding
	for _, group := range groups {
		if finding := sidecarFinding(*group, ofRevision(controls, group.revision)); finding != nil {
			finding.Object, finding.Field = reference(subject.Namespace.Reference()), "image of the sidecars"
			findings = append(findings, *finding)
		}
	}
	return findings
}

func sidecarFinding(group proxies, controls []controlPlane) *Finding {
	const restart = "restart the pods, which gives them the sidecar of their istiod"
	who := fmt.Sprintf("the sidecars of %s (%s)", count(len(group.pods), "pod"), some(group.names()))
	version, err := imageRelease(group.image)
	if err != nil {
		return &Finding{
			Status: v1alpha1.StatusWarn, Message: "whether istiod supports " + who + " cannot be seen: " + err.Error(),
			Remedy: "istioctl version shows what runs in them",
		}
	}
	if control := rejecting(group, version, controls); control != nil {
		return &Finding{
			Status: v1alpha1.StatusFail,
			Message: fmt.Sprintf("%s are %s and reject the HBONE listeners of istiod %s: they take no new configuration and do not become ready again",
				who, version, control.version),
			Remedy: "upgrade istiod to 1.29.5, 1.30.2 or newer, or " + restart,
		}
	}
	state, control := nearest(version, controls)
	switch state {
	case skewAhead:
		return &Finding{
			Status: v1alpha1.StatusWarn, Message: fmt.Sprintf("%s are %s, newer than istiod %s, which is not supported", who, version, control.version),
			Remedy: restart,
		}
	case skewBehind:
		return &Finding{
			Status: v1alpha1.StatusWarn, Message: fmt.Sprintf("%s are %s, more than one minor version older than istiod %s, which is not supported", who, version, control.version),
			Remedy: restart,
		}
	case skewSupported:
	}
	return nil
}

// rejecting returns a control plane whose listeners the sidecars reject. What
// the filters of HBONE put aside is of a type that Istio's proxy knows since
// 1.29.2 only; istiod heeds that since 1.29.5 and 1.30.2 (istio
// pilot/pkg/networking/core/listener_waypoint.go).
func rejecting(group proxies, version release, controls []controlPlane) *controlPlane {
	if version.at("1.29.2") || !slices.ContainsFunc(group.pods, mesh.Pod.Tunnels) {
		return nil
	}
	for _, control := range controls {
		affected := control.version.at("1.29.2") && !control.version.at("1.29.5") || control.version.at("1.30.0") && !control.version.at("1.30.2")
		if affected {
			return &control
		}
	}
	return nil
}

// componentSkew judges what there is one of per node.
func componentSkew(name string, pods []mesh.Pod, container string, controls []controlPlane) []Finding {
	running := map[string]int{}
	var images []string
	object := map[string]mesh.Pod{}
	for _, pod := range pods {
		image := pod.Images()[container]
		if running[image] == 0 {
			images = append(images, image)
			object[image] = pod
		}
		running[image]++
	}
	var findings []Finding
	for _, image := range images {
		pod := object[image]
		finding := componentFinding(name, image, running[image], ofAddress(controls, pod))
		if finding == nil {
			continue
		}
		finding.Object, finding.Field = reference(pod.Reference()), "spec.containers["+container+"].image"
		findings = append(findings, *finding)
	}
	return findings
}

func componentFinding(name, image string, pods int, controls []controlPlane) *Finding {
	version, err := imageRelease(image)
	if err != nil {
		return &Finding{
			Status: v1alpha1.StatusWarn, Message: fmt.Sprintf("whether istiod supports this %s cannot be seen: %v", name, err),
			Remedy: "istioctl version shows what runs",
		}
	}
	state, control := nearest(version, controls)
	which := fmt.Sprintf("%s is %s in %s", name, version, count(pods, "pod"))
	switch state {
	case skewAhead:
		return &Finding{
			Status:  v1alpha1.StatusFail,
			Message: fmt.Sprintf("%s, newer than istiod %s, which is not supported", which, control.version),
			Remedy:  fmt.Sprintf("upgrade istiod to 1.%d first", version.Minor()),
		}
	case skewBehind:
		return &Finding{
			Status:  v1alpha1.StatusFail,
			Message: fmt.Sprintf("%s, more than one minor version older than istiod %s, which is not supported", which, control.version),
			Remedy:  fmt.Sprintf("upgrade %s to %s", name, control.version),
		}
	case skewSupported:
	}
	return nil
}

// ofAddress leaves the control plane that a proxy is connected to, where its
// environment names it. istio-cni is connected to none.
func ofAddress(controls []controlPlane, pod mesh.Pod) []controlPlane {
	revision, known := revisionAt(pod.ProxyEnvironment["XDS_ADDRESS"])
	if !known {
		return controls
	}
	return ofRevision(controls, revision)
}

// revisionAt reads the revision from the address of an istiod's Service (istio
// manifests/charts/ztunnel/templates/daemonset.yaml).
func revisionAt(address string) (string, bool) {
	address = strings.TrimPrefix(address, "https://")
	host, _, _ := strings.Cut(address, ":")
	service, _, _ := strings.Cut(host, ".")
	if service == "istiod" {
		return mesh.DefaultRevision, true
	}
	return strings.CutPrefix(service, "istiod-")
}
