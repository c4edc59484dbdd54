package translate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// forSomeCallers: a waypoint heeds no DestinationRule with a workloadSelector, since that
// is for what goes out of the proxies it selects (istio pilot/pkg/model/sidecar.go,
// DestinationRule, and pilot/pkg/networking/core/cluster_waypoint.go,
// buildWaypointInboundVIP, which asks for the other direction). It is for callers of its
// own namespace, and goes on to hold for those that keep their proxies.
func (t *translator) forSomeCallers(reference v1alpha1.ObjectReference, rule *clientnetworkingv1.DestinationRule) {
	const field = "spec.workloadSelector"
	switch {
	case rule.Namespace != t.namespace.Name || t.options.Only != "" || t.options.RoutingOnly:
		return
	case !selectsAny(rule.Spec.GetWorkloadSelector().GetMatchLabels(), t.moving):
		t.translation.Carried[reference] = true
		return
	case mesh.EffectiveField(&rule.Spec) == "":
		t.translation.Carried[reference] = true
	default:
		loss := Loss{
			Object: reference, Field: field, Security: len(tlsSettings(&rule.Spec)) > 0,
			Message: "a waypoint follows no rule that is for the callers it selects: those in ambient mode no longer follow it",
			Remedy:  "have a rule without workloadSelector do it",
		}
		if loss.Security {
			loss.Message += ", and what it encrypts leaves as it is"
		}
		t.translation.Losses = append(t.translation.Losses, loss)
	}
	for _, virtualService := range t.snapshot.VirtualServices() {
		if !t.heeded(virtualService.Namespace) {
			continue
		}
		for _, http := range virtualService.Spec.GetHttp() {
			for _, route := range http.GetRoute() {
				destination := route.GetDestination()
				subset := destination.GetSubset()
				if !defines(&rule.Spec, subset) || !t.sameService(rule, destination.GetHost(), virtualService.Namespace) || t.definedForAll(rule, subset) {
					continue
				}
				t.problemOnce(Problem{
					Object: reference, Field: field,
					Message: fmt.Sprintf("a waypoint follows no rule that is for the callers it selects, and VirtualService %s/%s routes to subset %s of it: these calls would fail",
						virtualService.Namespace, virtualService.Name, subset),
					Remedy: "define the subset in a DestinationRule without workloadSelector",
				})
			}
		}
	}
}

// definedForAll says whether a rule that a waypoint follows defines a subset of the service
// that another one is for, too.
func (t *translator) definedForAll(than *clientnetworkingv1.DestinationRule, subset string) bool {
	return slices.ContainsFunc(t.snapshot.DestinationRules(), func(rule *clientnetworkingv1.DestinationRule) bool {
		return rule.Spec.GetWorkloadSelector() == nil && t.heeded(rule.Namespace) && defines(&rule.Spec, subset) && t.sameService(than, rule.Spec.GetHost(), rule.Namespace)
	})
}

func defines(rule *networkingv1alpha3.DestinationRule, subset string) bool {
	return slices.ContainsFunc(rule.GetSubsets(), func(one *networkingv1alpha3.Subset) bool { return one.GetName() == subset })
}

// sameService says whether a rule and a destination may mean the same service behind a
// waypoint.
func (t *translator) sameService(rule *clientnetworkingv1.DestinationRule, host, written string) bool {
	return slices.ContainsFunc(t.translation.Services, func(placed ServiceWaypoint) bool {
		return placed.WaypointName != "" && t.isHostOf(rule.Spec.GetHost(), rule.Namespace, placed.Need.Service) && t.isHostOf(host, written, placed.Need.Service)
	})
}

// tlsSetting is where and how a rule encrypts, by itself.
type tlsSetting struct {
	field string
	tls   *networkingv1alpha3.ClientTLSSettings
}

// tlsSettings are those of a rule that are not Istio's own mutual TLS.
func tlsSettings(rule *networkingv1alpha3.DestinationRule) []tlsSetting {
	var all []tlsSetting
	add := func(field string, tls *networkingv1alpha3.ClientTLSSettings) {
		if mode := tls.GetMode(); tls != nil && (mode == networkingv1alpha3.ClientTLSSettings_SIMPLE || mode == networkingv1alpha3.ClientTLSSettings_MUTUAL) {
			all = append(all, tlsSetting{field + ".tls", tls})
		}
	}
	of := func(field string, policy *networkingv1alpha3.TrafficPolicy) {
		add(field, policy.GetTls())
		for i, port := range policy.GetPortLevelSettings() {
			add(fmt.Sprintf("%s.portLevelSettings[%d]", field, i), port.GetTls())
		}
	}
	of("spec.trafficPolicy", rule.GetTrafficPolicy())
	for i, subset := range rule.GetSubsets() {
		of(fmt.Sprintf("spec.subsets[%d].trafficPolicy", i), subset.GetTrafficPolicy())
	}
	return all
}

// encrypts says whether an object is a rule by which sidecars encrypt calls themselves.
func (t *translator) encrypts(reference v1alpha1.ObjectReference) bool {
	return reference.Kind == mesh.KindDestinationRule && slices.ContainsFunc(t.snapshot.DestinationRules(), func(rule *clientnetworkingv1.DestinationRule) bool {
		return rule.Namespace == reference.Namespace && rule.Name == reference.Name && len(tlsSettings(&rule.Spec)) > 0
	})
}

// inEveryProxy are authorities that sidecars and waypoints have alike: those of their
// image, the mesh's and the cluster's (istio
// manifests/charts/istio-control/istio-discovery/files, injection-template.yaml and
// waypoint.yaml).
var inEveryProxy = []string{
	"system", "/etc/ssl/certs/ca-certificates.crt", "/var/run/secrets/istio/root-cert.pem", "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
}

// fileOf is a file that settings name and that not every proxy has; empty where there is
// none.
func fileOf(settings *networkingv1alpha3.ClientTLSSettings) string {
	var files []string
	if settings.GetMode() == networkingv1alpha3.ClientTLSSettings_MUTUAL {
		files = append(files, settings.GetClientCertificate(), settings.GetPrivateKey())
	}
	if !settings.GetInsecureSkipVerify().GetValue() {
		files = append(files, settings.GetCaCertificates(), settings.GetCaCrl())
	}
	i := slices.IndexFunc(files, func(file string) bool { return file != "" && !slices.Contains(inEveryProxy, file) })
	if i < 0 {
		return ""
	}
	return files[i]
}

// certificates are about what encrypts: a waypoint has no file of its callers' pods, and
// fetches a Secret in its own namespace where its account may read Secrets there (istio
// pilot/pkg/xds/sds.go, filterAuthorizedResources). Sidecars do not encrypt by such a rule
// at all, but for ConfigMaps (cluster_tls.go, buildUpstreamClusterTLSContext).
func (t *translator) certificates(reference v1alpha1.ObjectReference, rule *clientnetworkingv1.DestinationRule, one tlsSetting) {
	i := slices.IndexFunc(t.translation.Services, func(placed ServiceWaypoint) bool {
		return placed.WaypointName != "" && t.isHostOf(rule.Spec.GetHost(), rule.Namespace, placed.Need.Service)
	})
	if i < 0 {
		return
	}
	placed := t.translation.Services[i]
	off := fmt.Sprintf("originate TLS at an egress gateway, or label %s %s: %s", placed.Need.Service, label.IoIstioUseWaypoint.Name, mesh.DataplaneNone)
	credential := one.tls.GetCredentialName()
	file := fileOf(one.tls)
	switch {
	case strings.HasPrefix(credential, "configmap://"):
	case credential != "":
		t.problemOnce(Problem{
			Object: reference, Field: one.field + ".credentialName",
			Message: fmt.Sprintf("sidecars do not encrypt by it without a workloadSelector, and waypoint %s/%s would: by Secret %s of its own namespace, if its service account may read Secrets there; calls to %s fail otherwise",
				placed.WaypointNamespace, placed.WaypointName, credential, placed.Need.Service),
			Remedy: off + "; where the waypoint is to encrypt, and may read the Secret, accept this",
		})
	case file != "":
		t.problemOnce(Problem{
			Object: reference, Field: one.field,
			Message: fmt.Sprintf("%s is a file in the callers' sidecars that waypoint %s/%s does not have: calls to %s would fail", file, placed.WaypointNamespace, placed.WaypointName, placed.Need.Service),
			Remedy:  "mount it at the waypoint, too (spec.infrastructure.parametersRef of its Gateway), and accept this; or " + off,
		})
	}
}
