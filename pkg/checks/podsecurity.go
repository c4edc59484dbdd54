package checks

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
)

// The labels by which a namespace asks for the Pod Security Standards.
const (
	labelPodSecurity        = "pod-security.kubernetes.io/enforce"
	labelPodSecurityVersion = "pod-security.kubernetes.io/enforce-version"
)

func podSecurity() Check {
	return Check{
		ID: "pod-security", Category: CategoryNetwork, Severity: v1alpha1.SeverityError,
		About: "Whether the Pod Security Standard that the namespace enforces admits the pods of a waypoint, where it has one or would need one.",
		Why: "Waypoints run in the namespace itself, unprivileged, without capabilities and as a user other than root, but without a seccomp profile unless the installation sets " +
			"gateways.seccompProfile (istio manifests/charts/istio-control/istio-discovery/files/waypoint.yaml). The restricted standard demands one since version 1.19 " +
			"(kubernetes documentation, Pod Security Standards); baseline does not. Pods in ambient mode need nothing that the standard forbids.",
		Needs:  append(needsOfWaypoints(), mesh.WaypointEndpoints),
		Passed: "the namespace's Pod Security Standard is no obstacle",
		Run: func(subject Subject) []Finding {
			if !demandsSeccomp(subject.Namespace.Labels) {
				return nil
			}
			object, field := reference(subject.Namespace.Reference()), "metadata.labels["+labelPodSecurity+"]"
			const remedy = "set gateways.seccompProfile.type: RuntimeDefault in the values of istiod, or label the namespace baseline"
			var findings []Finding
			for _, waypoint := range ownWaypoints(subject) {
				switch {
				case hasSeccomp(subject, waypoint.Name):
				case waypoint.ReadyEndpoints == 0:
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail, Object: object, Field: field, Remedy: remedy,
						Message: fmt.Sprintf("it enforces the restricted standard, which refuses the pods of waypoint %s: they have no seccomp profile", waypoint.Name),
					})
				default:
					findings = append(findings, Finding{
						Status: v1alpha1.StatusWarn, Object: object, Field: field, Remedy: remedy,
						Message: fmt.Sprintf("it enforces the restricted standard, which would refuse the next pod of waypoint %s: it has no seccomp profile", waypoint.Name),
					})
				}
			}
			if why := wantsWaypoint(subject); why != "" && !subject.Snapshot.WaypointPods().Seccomp {
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: object, Field: field, Remedy: remedy,
					Message: "it enforces the restricted standard, which would refuse the pods of a waypoint for lack of a seccomp profile: " + why,
				})
			}
			return findings
		},
	}
}

// demandsSeccomp says whether labels enforce a standard that includes seccomp
// profiles. A version that is none is the latest.
func demandsSeccomp(labels map[string]string) bool {
	if labels[labelPodSecurity] != "restricted" {
		return false
	}
	version, err := semver.NewVersion(cmp.Or(labels[labelPodSecurityVersion], "latest"))
	return err != nil || !version.LessThan(semver.MustParse("1.19.0"))
}

// ownWaypoints are the waypoints that run in the namespace at hand.
func ownWaypoints(subject Subject) []v1alpha1.WaypointStatus {
	return slices.DeleteFunc(subject.Snapshot.Waypoints(subject.Namespace), func(waypoint v1alpha1.WaypointStatus) bool {
		return !waypoint.Exists || waypoint.Namespace != subject.Namespace.Name
	})
}

// hasSeccomp says whether a waypoint's Deployment sets a profile; where there is
// none yet, whether the installation's waypoints have one.
func hasSeccomp(subject Subject, gateway string) bool {
	for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
		if workload.Template.Labels[label.IoK8sNetworkingGatewayGatewayName.Name] != gateway {
			continue
		}
		spec := workload.Template.Spec
		if spec.SecurityContext != nil && spec.SecurityContext.SeccompProfile != nil {
			return true
		}
		return !slices.ContainsFunc(spec.Containers, func(container corev1.Container) bool {
			return container.SecurityContext == nil || container.SecurityContext.SeccompProfile == nil
		})
	}
	return subject.Snapshot.WaypointPods().Seccomp
}

// needsOfWaypoints are what mesh.WaypointNeeds rests on.
func needsOfWaypoints() []string {
	return append(rootNamespaces(slices.Concat(targetKinds(), routeKinds(), []string{
		mesh.KindNamespace, mesh.KindService, mesh.KindServiceEntry, mesh.KindVirtualService, mesh.KindDestinationRule, mesh.KindGateway, mesh.KindGatewayClass,
	})...), workloadKinds()...)
}

// wantsWaypoint says why the namespace will want a waypoint that it does not
// have; nothing where it has one, or needs none.
func wantsWaypoint(subject Subject) string {
	if len(ownWaypoints(subject)) > 0 {
		return ""
	}
	for _, waypoint := range subject.Snapshot.Waypoints(subject.Namespace) {
		if waypoint.Used {
			if waypoint.Exists || waypoint.Namespace != subject.Namespace.Name {
				// It runs elsewhere.
				return ""
			}
			return "its label names waypoint " + waypoint.Name + ", which is not there"
		}
	}
	for _, need := range subject.Snapshot.WaypointNeeds(subject.Namespace) {
		if !need.OnlyHints() {
			return fmt.Sprintf("%s %s needs one", need.Service.Kind, need.Service.Name)
		}
	}
	return ""
}
