package oracle

import (
	"strconv"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// witnessObject is an object that carries a mark.
type witnessObject struct {
	resource schema.GroupVersionResource
	content  map[string]any
}

// object is a map that stands for an object of the API.
type object = map[string]any

// witnessObjects are the objects of a round, in the order in which they can be
// written.
func witnessObjects(m mark) []witnessObject {
	result := []witnessObject{
		// No such waypoint exists. Istiod says so in the status of the Service.
		newWitnessObject("", "namespaces", "Namespace", witnessNamespace, object{"metadata": object{
			"labels": object{"istio.io/use-waypoint": m.text},
		}}),
		witnessService(m),
		newWitnessObject("", "pods", "Pod", "witness", witnessPod(m)),
		newWitnessObject("discovery.k8s.io", "endpointslices", "EndpointSlice", "witness", witnessSlice(m)),
	}
	return append(result, witnessPolicies(m)...)
}

func newWitnessObject(group, resource, kind, name string, content object) witnessObject {
	resources := schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}
	metadata, _ := content["metadata"].(object)
	if metadata == nil {
		metadata = object{}
	}
	metadata["name"] = name
	if resource != "namespaces" {
		metadata["namespace"] = witnessNamespace
	}
	content["apiVersion"], content["kind"], content["metadata"] = resources.GroupVersion().String(), kind, metadata
	return witnessObject{resources, content}
}

// witnessService selects nothing: its endpoints are those of witnessSlice.
func witnessService(m mark) witnessObject {
	return newWitnessObject("", "services", "Service", "witness", object{"spec": object{
		"ports": []any{object{"name": "tcp", "port": int64(m.port), "protocol": "TCP"}},
	}})
}

// witnessPod is bound to a node from the start. Its canonical name is what
// istiod shows of its labels.
func witnessPod(m mark) object {
	return object{
		"metadata": object{"labels": object{"app": "witness", "service.istio.io/canonical-name": m.text}},
		"spec":     object{"containers": []any{object{"name": "witness", "image": "witness"}}},
	}
}

func witnessSlice(m mark) object {
	return object{
		"metadata":    object{"labels": object{"kubernetes.io/service-name": "witness"}},
		"addressType": "IPv4",
		"endpoints":   []any{object{"addresses": []any{m.address}, "conditions": object{"ready": true}}},
		"ports":       []any{object{"name": "tcp", "port": int64(m.port), "protocol": "TCP"}},
	}
}

func witnessPolicies(m mark) []witnessObject {
	selector := object{"matchLabels": object{"app": "witness"}}
	security := func(resource, kind string, spec object) witnessObject {
		spec["selector"] = selector
		return newWitnessObject("security.istio.io", resource, kind, "witness", object{"spec": spec})
	}
	return []witnessObject{
		security("authorizationpolicies", "AuthorizationPolicy", object{"rules": []any{
			object{"from": []any{object{"source": object{"principals": []any{m.text + "-policy"}}}}},
		}}),
		security("requestauthentications", "RequestAuthentication", object{"jwtRules": []any{
			object{"issuer": m.text + "-issuer", "jwks": `{"keys":[]}`},
		}}),
		security("peerauthentications", "PeerAuthentication", object{
			"portLevelMtls": object{portKey(m.port): object{"mode": "STRICT"}},
		}),
		newWitnessObject("networking.istio.io", "serviceentries", "ServiceEntry", "witness", object{"spec": object{
			"hosts": []any{"witness.example"}, "addresses": []any{m.address}, "resolution": "STATIC", "location": "MESH_INTERNAL",
			"ports": []any{object{"name": "tcp", "number": int64(m.port), "protocol": "TCP"}},
		}}),
		newWitnessObject("networking.istio.io", "destinationrules", "DestinationRule", "witness", object{"spec": object{
			"host":          "witness." + witnessNamespace + ".svc.cluster.local",
			"trafficPolicy": object{"tls": object{"mode": "SIMPLE", "sni": m.text}},
		}}),
	}
}

func portKey(port uint32) string { return strconv.FormatUint(uint64(port), 10) }
