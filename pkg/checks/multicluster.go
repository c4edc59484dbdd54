package checks

import (
	"cmp"
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// eastWestClass is the GatewayClass of ambient mode's gateways between networks
// (istio pkg/config/constants).
const eastWestClass = "istio-east-west"

// multicluster is about the shape of the mesh, as far as it shows in one
// cluster: Secrets, which name the other clusters, are not read.
func multicluster() Check {
	return Check{
		ID: "multicluster", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		About: "Whether the mesh spans clusters, and how: one istiod for several clusters, or one in each, with one or several networks.",
		Why: "Ambient mode does not work where a cluster is served by another one's istiod (istio.io, Install Multicluster, for ambient mode). " +
			"Across networks it needs AMBIENT_ENABLE_MULTI_NETWORK on istiod and east-west gateways of its own, and it is not as mature as the rest: " +
			"without, ambient pods reach no endpoint of another network. " +
			"Callers in other clusters are not seen from here; those with sidecars bypass waypoints, as all sidecars do.",
		Needs: []string{
			mesh.IstiodDeployments, mesh.IstioConfigMaps, mesh.KindMutatingWebhookConfiguration, mesh.KindNamespace, mesh.KindGateway, mesh.KindService,
		},
		Passed: "nothing shows that the mesh spans clusters",
		Run: func(subject Subject) []Finding {
			if findings := primaryRemote(subject.Snapshot); len(findings) > 0 {
				return findings
			}
			return multiNetwork(subject.Snapshot)
		},
	}
}

const primaryRemoteRemedy = "run an istiod in every cluster (multi-primary) before moving to ambient mode"

func primaryRemote(snapshot *mesh.Snapshot) []Finding {
	var findings []Finding
	if len(snapshot.Istiods()) == 0 {
		if where := injectionElsewhere(snapshot); where != "" {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail,
				Message: fmt.Sprintf("injection webhooks call %s, and no istiod runs here: the cluster is served by another one's istiod, which ambient mode does not support",
					where),
				Remedy: primaryRemoteRemedy,
			})
		}
	}
	for _, values := range snapshot.InstallationValues() {
		if values.RemotePilotAddress == "" {
			continue
		}
		findings = append(findings, Finding{
			Status: v1alpha1.StatusFail,
			Object: &v1alpha1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: values.ConfigMap.Namespace, Name: values.ConfigMap.Name},
			Field:  "data.values, global.remotePilotAddress",
			Message: fmt.Sprintf("the cluster is served by the istiod at %s, a remote in a primary-remote mesh, which ambient mode does not support",
				values.RemotePilotAddress),
			Remedy: primaryRemoteRemedy,
		})
	}
	for _, istiod := range snapshot.Istiods() {
		value, state := mesh.Setting(istiod.Spec.Template, "EXTERNAL_ISTIOD")
		if state == mesh.SettingSet && enabled(value) {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: deploymentReference(istiod), Field: environmentField("EXTERNAL_ISTIOD"),
				Message: fmt.Sprintf("istiod of revision %s serves other clusters, the primary of a primary-remote mesh, which ambient mode does not support",
					mesh.RevisionOf(istiod)),
				Remedy: primaryRemoteRemedy,
			})
		}
	}
	return findings
}

// injectionElsewhere says what the injection webhooks call; nothing where there
// are none.
func injectionElsewhere(snapshot *mesh.Snapshot) string {
	for _, injector := range snapshot.Injectors() {
		config := injector.Webhook.ClientConfig
		switch {
		case config.URL != nil:
			return *config.URL
		case config.Service != nil:
			return "Service " + config.Service.Namespace + "/" + config.Service.Name
		}
	}
	return ""
}

// multiNetwork looks for what a mesh of several networks has in each cluster.
func multiNetwork(snapshot *mesh.Snapshot) []Finding {
	evidence, object := networkEvidence(snapshot)
	if evidence == "" {
		return nil
	}
	const callers = "; callers elsewhere that have sidecars bypass waypoints"
	var findings []Finding
	for _, istiod := range snapshot.Istiods() {
		value, state := mesh.Setting(istiod.Spec.Template, "AMBIENT_ENABLE_MULTI_NETWORK")
		finding := Finding{Status: v1alpha1.StatusWarn, Object: object}
		revision := mesh.RevisionOf(istiod)
		switch {
		case state == mesh.SettingHidden:
			finding.Message = fmt.Sprintf("%s: whether revision %s serves ambient pods across networks cannot be seen%s", evidence, revision, callers)
			finding.Remedy = "see that AMBIENT_ENABLE_MULTI_NETWORK is true in the environment of istiod"
		case enabled(value):
			finding.Message = fmt.Sprintf("%s: ambient mode across networks needs waypoints of the same names in every cluster and east-west gateways of class %s%s",
				evidence, eastWestClass, callers)
			finding.Remedy = "migrate the namespace in every cluster at the same time"
		default:
			finding.Message = fmt.Sprintf("%s, but revision %s does not serve ambient pods across networks: they would not reach endpoints of other networks%s",
				evidence, revision, callers)
			finding.Remedy = "set AMBIENT_ENABLE_MULTI_NETWORK=true on istiod, and run east-west gateways of class " + eastWestClass +
				", unless no other cluster serves what these pods call"
		}
		findings = append(findings, finding)
	}
	return findings
}

// SpansNetworks says what shows that the mesh has several networks; nothing where
// nothing does.
func SpansNetworks(snapshot *mesh.Snapshot) string {
	evidence, _ := networkEvidence(snapshot)
	return evidence
}

// networkEvidence says what shows that the mesh has several networks.
func networkEvidence(snapshot *mesh.Snapshot) (string, *v1alpha1.ObjectReference) {
	for _, name := range snapshot.RootNamespaces() {
		namespace, found := snapshot.Namespace(name)
		if network := namespace.Labels[label.TopologyNetwork.Name]; found && network != "" {
			return fmt.Sprintf("the cluster is in network %s", network), reference(namespace.Reference())
		}
	}
	for _, values := range snapshot.InstallationValues() {
		if values.Network != "" {
			return fmt.Sprintf("the cluster is in network %s", values.Network),
				&v1alpha1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: values.ConfigMap.Namespace, Name: values.ConfigMap.Name}
		}
	}
	for _, gateway := range snapshot.AllGateways() {
		if string(gateway.Spec.GatewayClassName) == eastWestClass {
			return "there is an east-west gateway",
				&v1alpha1.ObjectReference{APIVersion: gatewayv1.GroupVersion.String(), Kind: mesh.KindGateway, Namespace: gateway.Namespace, Name: gateway.Name}
		}
	}
	for _, service := range snapshot.AllServices() {
		eastWest := service.Labels["istio"] == "eastwestgateway" || service.Labels["app"] == "istio-eastwestgateway"
		if eastWest || service.Labels[label.TopologyNetwork.Name] != "" {
			return "there is a gateway to " + cmp.Or(service.Labels[label.TopologyNetwork.Name], "other networks"),
				reference(mesh.ServiceReference(service.Namespace, service.Name))
		}
	}
	return "", nil
}
