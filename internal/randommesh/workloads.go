package randommesh

import (
	"fmt"
	"maps"
	"strconv"
)

// workload is one that answers calls.
type workload struct {
	name, tier, serviceAccount string
	set                        bool
}

// containerPort is a port of every workload.
type containerPort struct {
	name   string
	number int64
}

// containerPorts are few and alike, so that Services of one fit all.
var containerPorts = []containerPort{{"web", 8080}, {"admin", 9090}, {"data", 7000}, {"", 5000}}

func (d *drawing) workloads() {
	names := []string{"web", "cart", "stock", "mail"}[:2+d.IntN(3)]
	for _, name := range names {
		drawn := workload{name: name, tier: one(d.dice, "front", "back"), serviceAccount: name, set: d.in(12)}
		switch {
		case d.in(20):
			drawn.serviceAccount = "shared"
		case d.in(15):
			drawn.serviceAccount = "default"
		}
		d.serviceAccount(d.mesh.Namespace, drawn.serviceAccount)
		d.runs(d.mesh.Namespace, drawn, nil)
		d.pods = append(d.pods, drawn)
	}
	if d.in(8) {
		d.runs(d.mesh.Namespace, workload{name: "legacy", tier: "back", serviceAccount: "default"}, map[string]any{"sidecar.istio.io/inject": "false"})
	}
	if d.mesh.Callers == "" {
		return
	}
	d.serviceAccount(d.mesh.Callers, "web")
	d.runs(d.mesh.Callers, workload{name: "web", tier: "front", serviceAccount: one(d.dice, "web", "default")}, nil)
	if d.in(30) {
		d.gateway()
	}
}

// serviceAccount adds one, once; each namespace has one of the name default.
func (d *drawing) serviceAccount(namespace, name string) {
	for _, object := range d.mesh.Objects {
		if object.GetKind() == "ServiceAccount" && object.GetNamespace() == namespace && object.GetName() == name {
			return
		}
	}
	if name != "default" {
		d.add("v1", "ServiceAccount", namespace, name, nil, nil)
	}
}

// labels are those of a workload's pods. Policies of the root namespace find those
// of one mesh by its seed.
func (d *drawing) labels(of workload) map[string]any {
	return map[string]any{"app": of.name, "tier": of.tier, "mesh": seedLabel(d.mesh.Seed)}
}

func seedLabel(seed uint64) string { return "seed-" + strconv.FormatUint(seed, 10) }

func (d *drawing) runs(namespace string, of workload, labels map[string]any) {
	podLabels := d.labels(of)
	maps.Copy(podLabels, labels)
	var ports []any
	for _, port := range containerPorts {
		declared := map[string]any{"containerPort": port.number}
		if port.name != "" {
			declared["name"] = port.name
		}
		ports = append(ports, declared)
	}
	spec := map[string]any{
		"replicas": int64(1),
		"selector": map[string]any{"matchLabels": map[string]any{"app": of.name}},
		"template": map[string]any{
			"metadata": map[string]any{"labels": podLabels},
			"spec": map[string]any{
				"serviceAccountName": of.serviceAccount,
				"containers":         []any{map[string]any{"name": of.name, "image": "registry.example/" + of.name + ":1", "ports": ports}},
			},
		},
	}
	kind := "Deployment"
	if of.set {
		kind = "StatefulSet"
		spec["serviceName"] = of.name + "-pods"
	}
	d.add("apps/v1", kind, namespace, of.name, nil, map[string]any{"spec": spec})
}

// gateway adds a gateway that the injector makes one.
func (d *drawing) gateway() {
	d.serviceAccount(d.mesh.Callers, "edge")
	d.add("apps/v1", "Deployment", d.mesh.Callers, "edge", nil, map[string]any{"spec": map[string]any{
		"replicas": int64(1),
		"selector": map[string]any{"matchLabels": map[string]any{"app": "edge"}},
		"template": map[string]any{
			"metadata": map[string]any{
				"labels":      map[string]any{"app": "edge", "istio": "edge", "sidecar.istio.io/inject": "true", "istio.io/dataplane-mode": "none"},
				"annotations": map[string]any{"inject.istio.io/templates": "gateway"},
			},
			"spec": map[string]any{
				"serviceAccountName": "edge",
				"containers":         []any{map[string]any{"name": "istio-proxy", "image": "auto"}},
			},
		},
	}})
}

// servicePort draws a port of a Service. Numbers and targets differ as a rule.
func (d *drawing) servicePort(name string, number int64) map[string]any {
	port := map[string]any{"name": name, "port": number}
	switch {
	case d.in(25):
		port["targetPort"] = one(d.dice, "web", "admin")
	case d.in(85):
		port["targetPort"] = one[int64](d.dice, 8080, 8080, 9090, 7000)
	}
	return port
}

func (d *drawing) ports() []any {
	ports := []any{d.servicePort("http", 80)}
	if d.in(35) {
		extra := pick(d.dice, []weighted[string]{{4, "tcp"}, {3, "plain"}, {2, "http-more"}, {1, "grpc"}})
		ports = append(ports, d.servicePort(extra, one[int64](d.dice, 9000, 8080)))
	}
	if d.in(10) {
		port := d.servicePort("named-otherwise", 8443)
		port["appProtocol"] = one(d.dice, "http", "tcp", "https")
		ports = append(ports, port)
	}
	return ports
}

// services adds one for each workload as a rule, sometimes several for the same
// pods, and headless ones.
func (d *drawing) services() {
	for _, of := range d.pods {
		selector := map[string]any{"app": of.name}
		if d.in(90) {
			d.service(of.name, map[string]any{"selector": selector, "ports": d.ports()})
		}
		if d.in(15) {
			d.service(of.name+"-too", map[string]any{"selector": selector, "ports": d.ports()})
		}
		if of.set || d.in(15) {
			name, number := "http", int64(8080)
			if d.in(40) {
				name, number = "tcp", 7000
			}
			d.service(of.name+"-pods", map[string]any{
				"clusterIP": "None", "selector": selector, "ports": []any{map[string]any{"name": name, "port": number}},
			})
		}
	}
	if d.in(15) {
		d.service("tier", map[string]any{"selector": map[string]any{"tier": one(d.dice, "front", "back")}, "ports": d.ports()})
	}
}

func (d *drawing) service(name string, spec map[string]any) {
	d.add("v1", "Service", d.mesh.Namespace, name, nil, map[string]any{"spec": spec})
	d.serviceNames = append(d.serviceNames, name)
}

func (d *drawing) peerAuthentications() {
	mode := func() map[string]any { return map[string]any{"mode": one(d.dice, "STRICT", "STRICT", "PERMISSIVE")} }
	if d.in(45) {
		d.add(securityVersion, "PeerAuthentication", d.mesh.Namespace, "default", nil, map[string]any{"spec": map[string]any{"mtls": mode()}})
	}
	if !d.in(25) {
		return
	}
	of := one(d.dice, d.pods...)
	spec := map[string]any{"selector": map[string]any{"matchLabels": map[string]any{"app": of.name}}, "mtls": mode()}
	if d.in(60) {
		spec["portLevelMtls"] = map[string]any{fmt.Sprint(one(d.dice, containerPorts...).number): mode()}
	}
	d.add(securityVersion, "PeerAuthentication", d.mesh.Namespace, of.name, nil, map[string]any{"spec": spec})
}

const securityVersion = "security.istio.io/v1"
