package checks

import (
	"fmt"

	"github.com/Masterminds/semver/v3"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// What Gateway API's own definitions say of themselves.
const (
	gatewayGroup     = ".gateway.networking.k8s.io"
	bundleVersion    = "gateway.networking.k8s.io/bundle-version"
	bundleChannel    = "gateway.networking.k8s.io/channel"
	bundleStandard   = "standard"
	oldestGatewayAPI = "1.0.0"
)

// installGatewayAPI says how to install the definitions that Istio 1.31 is
// tested with.
const installGatewayAPI = "kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.0/"

// layer4Route is a kind of routes that istiod reads only from definitions of some
// versions, and ignores otherwise.
type layer4Route struct {
	kind, plural string
	// since is by minor version of Istio 1: the oldest bundle that is read from
	// that version on.
	since []minimum
	// experimental is the bundle version in which the kind became standard.
	standard string
}

type minimum struct {
	istioMinor uint64
	bundle     string
}

// layer4Routes are those with a minimum (istio
// pkg/config/schema/gatewayapi/minimumversions.go, and for when it was raised
// the change notes of Istio 1.30 and 1.31).
func layer4Routes() []layer4Route {
	return []layer4Route{
		{kind: mesh.KindGRPCRoute, plural: "grpcroutes", since: []minimum{{0, "1.1.0"}}, standard: "1.1.0"},
		{kind: mesh.KindTLSRoute, plural: "tlsroutes", since: []minimum{{30, "1.5.0"}}, standard: "1.5.0"},
		{kind: mesh.KindTCPRoute, plural: "tcproutes", since: []minimum{{31, "1.6.0"}}, standard: "1.6.0"},
	}
}

// tlsRouteLimit: before 1.30 istiod reads TLSRoutes of version v1alpha2 and v1alpha3
// only, and ignores definitions from 1.5 on (change notes of Istio 1.29.2).
const tlsRouteLimit = "1.5.0"

// gatewayAPI: waypoints are Gateways. Without the definitions no L7 policy and
// no route of the namespace can be carried over; what is L4 can.
func gatewayAPI() Check {
	return Check{
		ID: "gateway-api", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityWarning,
		About: "Which version and channel of Gateway API's definitions is installed.",
		Why: "A waypoint is a Gateway, so without these definitions istiod can run none, and only L4 policies can move. " +
			"istiod ignores every route of a kind whose definition is older than it requires, saying so only in its log (istio pkg/config/schema/gatewayapi/minimumversions.go, pkg/kube/kclient/crdwatcher.go). " +
			"Definitions of the standard channel lack the experimental kinds and fields, which the API server then drops or refuses.",
		Needs:  []string{mesh.CustomResourceDefinitions, mesh.KindGateway, mesh.KindGRPCRoute, mesh.KindTCPRoute, mesh.KindTLSRoute, mesh.IstiodDeployments},
		Passed: "Gateway API is installed in a version that istiod reads",
		Run: func(subject Subject) []Finding {
			snapshot := subject.Snapshot
			gateways, found := snapshot.Definition("gateways" + gatewayGroup)
			if !found && (len(snapshot.AllGateways()) > 0 || len(snapshot.Routes()) > 0) {
				return []Finding{{
					Status: v1alpha1.StatusWarn, Message: "Gateway API is in use, but its definitions are not among what was read: their version cannot be seen",
					Remedy: "kubectl get crd gateways.gateway.networking.k8s.io -o yaml",
				}}
			}
			if !found {
				return []Finding{{
					Status: v1alpha1.StatusWarn, Object: definitionReference("gateways"),
					Message: "Gateway API is not installed, so there can be no waypoint: no L7 policy and no routing",
					Remedy:  installGatewayAPI + "standard-install.yaml",
				}}
			}
			findings := bundleFindings(gateways.Annotations)
			for _, kind := range layer4Routes() {
				findings = append(findings, routeKindFindings(snapshot, kind, gateways.Annotations[bundleChannel])...)
			}
			return findings
		},
	}
}

func bundleFindings(annotations map[string]string) []Finding {
	finding := Finding{Status: v1alpha1.StatusWarn, Object: definitionReference("gateways"), Field: "metadata.annotations[" + bundleVersion + "]"}
	stated := annotations[bundleVersion]
	version, err := semver.NewVersion(stated)
	switch {
	case err != nil:
		finding.Message = fmt.Sprintf("the version of Gateway API cannot be seen: %q is not a version", stated)
		finding.Remedy = "install the definitions from a release of Gateway API"
	case version.LessThan(semver.MustParse(oldestGatewayAPI)):
		finding.Message = fmt.Sprintf("Gateway API is %s, which does not serve Gateways in version v1 as istiod reads them", stated)
		finding.Remedy = installGatewayAPI + "standard-install.yaml"
	default:
		return nil
	}
	return []Finding{finding}
}

// routeKindFindings are about a kind that is in use.
func routeKindFindings(snapshot *mesh.Snapshot, kind layer4Route, gatewaysChannel string) []Finding {
	number := 0
	for _, route := range snapshot.Routes() {
		if route.Reference.Kind == kind.kind {
			number++
		}
	}
	definition, found := snapshot.Definition(kind.plural + gatewayGroup)
	if number == 0 || !found {
		return nil
	}
	used := count(number, kind.kind)
	version, err := semver.NewVersion(definition.Annotations[bundleVersion])
	if err != nil {
		return []Finding{{
			Status: v1alpha1.StatusWarn, Object: definitionReference(kind.plural), Field: "metadata.annotations[" + bundleVersion + "]",
			Message: fmt.Sprintf("%s: whether istiod reads them cannot be seen, since their definition does not state a version", used),
			Remedy:  "install the definitions from a release of Gateway API",
		}}
	}
	// istiod rounds up what comes before a release.
	bundle := semver.New(version.Major(), version.Minor(), version.Patch(), "", "")
	var findings []Finding
	for _, control := range controlPlanes(snapshot) {
		message, remedy := kind.ignored(bundle, control.version)
		if message == "" {
			continue
		}
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: definitionReference(kind.plural), Field: "metadata.annotations[" + bundleVersion + "]",
			Message: fmt.Sprintf("istiod %s (revision %s) ignores %s: %s", control.version, mesh.RevisionOf(control.istiod), used, message),
			Remedy:  remedy,
		})
	}
	if gatewaysChannel == bundleStandard && definition.Annotations[bundleChannel] != bundleStandard && bundle.LessThan(semver.MustParse(kind.standard)) {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: definitionReference("gateways"), Field: "metadata.annotations[" + bundleChannel + "]",
			Message: fmt.Sprintf("%s of the experimental channel beside Gateways of the standard one: listeners may lack what these routes need", used),
			Remedy:  installGatewayAPI + "experimental-install.yaml",
		})
	}
	return findings
}

// ignored says why an istiod ignores the kind, and what to do; nothing where it
// does not.
func (k layer4Route) ignored(bundle *semver.Version, istiod release) (message, remedy string) {
	for _, minimum := range k.since {
		if (istiod.newerThanTested() || istiod.Minor() >= minimum.istioMinor) && bundle.LessThan(semver.MustParse(minimum.bundle)) {
			return fmt.Sprintf("their definition is of Gateway API %s, older than %s", bundle, minimum.bundle), installGatewayAPI + "experimental-install.yaml"
		}
	}
	if k.kind == mesh.KindTLSRoute && istiod.Minor() < 30 && !istiod.newerThanTested() && !bundle.LessThan(semver.MustParse(tlsRouteLimit)) {
		return fmt.Sprintf("their definition is of Gateway API %s, and versions before 1.30 read those before %s only", bundle, tlsRouteLimit), "upgrade Istio"
	}
	return "", ""
}

func definitionReference(plural string) *v1alpha1.ObjectReference {
	return &v1alpha1.ObjectReference{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: plural + gatewayGroup}
}
