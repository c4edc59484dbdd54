package checks_test

import (
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

func commandCases() []testCase {
	const (
		wait  = "until curl -fs http://localhost:15021/healthz/ready; do sleep 1; done; exec /app"
		quit  = "/app; curl -fsX POST http://localhost:15020/quitquitquit"
		other = "/app --healthz http://localhost:8080/healthz/ready"
	)
	running := func(edit func(*corev1.PodSpec)) *appsv1.Deployment {
		return fixture.Deployment("shop", "pay", func(d *appsv1.Deployment) { edit(&d.Spec.Template.Spec) })
	}
	command := func(words ...string) func(*corev1.PodSpec) {
		return func(spec *corev1.PodSpec) { spec.Containers[0].Command = words }
	}
	executes := func(words ...string) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: words}}
	}
	lifecycle := func(start, stop *corev1.LifecycleHandler) func(*corev1.PodSpec) {
		return func(spec *corev1.PodSpec) {
			spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: start, PreStop: stop}
		}
	}
	report := fixture.CronJob("shop", "report", func(c *batchv1.CronJob) { command("sh", "-c", quit)(&c.Spec.JobTemplate.Spec.Template.Spec) })
	job := fixture.Job("shop", "import", func(j *batchv1.Job) { command("sh", "-c", quit)(&j.Spec.Template.Spec) })
	jobPod := fixture.Pod("shop", "import-x", fixture.Of("Job", "batch/v1", &job.ObjectMeta, job.Spec.Template), fixture.Sidecar)
	const at = "spec.template.spec.containers[0]."
	of := func(field, message string) finding { return finding{fail, "Deployment shop/pay", field, message} }
	warned := func(field, message string) finding { return finding{warn, "Deployment shop/pay", field, message} }
	return []testCase{
		{name: "none", check: "jobs-quit-sidecar", objects: shop()},
		{name: "an application's own readiness", check: "jobs-quit-sidecar", objects: shop(running(command("sh", "-c", other)))},
		{name: "a CronJob that quits its sidecar", check: "jobs-quit-sidecar", objects: shop(report), want: []finding{{warn, "CronJob shop/report", "spec.jobTemplate.spec.template.spec.containers[0].command", "it tells the sidecar to quit"}}},
		{name: "a Job that runs", check: "jobs-quit-sidecar", objects: shop(job, jobPod), want: []finding{{warn, "Job shop/import", at + "command", "it tells the sidecar to quit"}}},
		{name: "a Job that ran", check: "jobs-quit-sidecar", objects: shop(job)},
		{name: "a wait", check: "jobs-quit-sidecar", objects: shop(running(command("sh", "-c", wait))), want: []finding{of(at+"command", "it waits for the sidecar")}},
		{name: "a wait for the agent's other port", check: "jobs-quit-sidecar", objects: shop(running(command("sh", "-c", "until wget localhost:15020/healthz/ready; do :; done"))), want: []finding{of(at+"command", "it waits for the sidecar")}},
		{name: "a wait among the arguments", check: "jobs-quit-sidecar", objects: shop(running(func(spec *corev1.PodSpec) {
			spec.Containers[0].Command, spec.Containers[0].Args = []string{"sh", "-c"}, []string{wait}
		})), want: []finding{of(at+"args", "it waits for the sidecar")}},
		{name: "a wait in two words", check: "jobs-quit-sidecar", objects: shop(running(command("waitfor", "--port=15021", "--path=/healthz/ready"))), want: []finding{of(at+"command", "it waits for the sidecar")}},
		{name: "a wait and a call to quit", check: "jobs-quit-sidecar", objects: shop(running(command("sh", "-c", wait+"; "+quit))), want: []finding{of(at+"command", "it waits for the sidecar"), warned(at+"command", "it tells the sidecar to quit")}},
		{name: "a wait of an init container", check: "jobs-quit-sidecar", objects: shop(running(func(spec *corev1.PodSpec) {
			spec.InitContainers = []corev1.Container{{Name: "wait", Command: []string{"sh", "-c", wait}}}
		})), want: []finding{of("spec.template.spec.initContainers[0].command", "it waits for the sidecar")}},
		{name: "a wait after the start", check: "jobs-quit-sidecar", objects: shop(running(lifecycle(executes("sh", "-c", wait), nil))), want: []finding{of(at+"lifecycle.postStart.exec.command", "it waits for the sidecar")}},
		{name: "a look at the sidecar before the stop", check: "jobs-quit-sidecar", objects: shop(running(lifecycle(nil, executes("curl", "localhost:15021/healthz/ready")))), want: []finding{warned(at+"lifecycle.preStop.exec.command", "it mentions a port or program of the sidecar (15021)")}},
		{name: "a call to quit before the stop", check: "jobs-quit-sidecar", objects: shop(running(lifecycle(nil, executes("sh", "-c", quit)))), want: []finding{warned(at+"lifecycle.preStop.exec.command", "it tells the sidecar to quit")}},
		{name: "a call of Envoy", check: "jobs-quit-sidecar", objects: shop(running(command("curl", "localhost:15000/ready"))), want: []finding{warned(at+"command", "(15000)")}},
		{name: "what does not move", check: "jobs-quit-sidecar", objects: append(enrolled(), running(command("sh", "-c", wait)))},
	}
}

func outsideCases() []testCase {
	onHost := fixture.DaemonSet("shop", "agent", func(d *appsv1.DaemonSet) { d.Spec.Template.Spec.HostNetwork = true })
	hostPod := func(name string, edits ...func(*corev1.Pod)) *corev1.Pod {
		return fixture.Pod("shop", name, append(edits, func(pod *corev1.Pod) { pod.Spec.HostNetwork = true })...)
	}
	serving := func(name, spec string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: shop}\nspec: " + spec
	}
	ports := func(entries ...corev1.ContainerPort) *appsv1.Deployment {
		return fixture.Deployment("shop", "dns", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Ports = entries })
	}
	udp, tcp := corev1.ContainerPort{ContainerPort: 53, Protocol: corev1.ProtocolUDP}, corev1.ContainerPort{ContainerPort: 53, Protocol: corev1.ProtocolTCP}
	headless := serving("cart-pods", "{clusterIP: None, selector: {app: cart}}")
	return []testCase{
		{name: "none", check: "host-network", objects: shop()},
		{name: "a DaemonSet", check: "host-network", objects: shop(onHost, hostPod("agent-x", fixture.Of("DaemonSet", "apps/v1", &onHost.ObjectMeta, onHost.Spec.Template))), want: []finding{{warn, "DaemonSet shop/agent", "spec.template.spec.hostNetwork", "stays outside the mesh"}}},
		{name: "a bare pod", check: "host-network", objects: shop(hostPod("probe")), want: []finding{{warn, "Pod shop/probe", "spec.hostNetwork", "stays outside the mesh"}}},
		{name: "elsewhere", check: "host-network", objects: shop(fixture.Pod("other", "probe", func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }))},

		{name: "none", check: "headless-services", objects: shop()},
		{name: "one", check: "headless-services", objects: shop(headless), want: []finding{{warn, "Service shop/cart-pods", "spec.clusterIP", "reach Deployment cart directly"}}},
		{name: "one whose pods name a waypoint", check: "headless-services", objects: namingOwn(headless), want: []finding{{warn, "Service shop/cart-pods", "spec.clusterIP", "callers with sidecars reach Deployment cart directly"}}},
		{name: "one that headless-strict names", check: "headless-services", objects: shop(headless, peer("shop", "{mtls: {mode: STRICT}}"))},
		{name: "one for pods that do not move", check: "headless-services", objects: shop(serving("x", "{clusterIP: None, selector: {app: other}}"))},
		{name: "one without selector", check: "headless-services", objects: shop(serving("x", "{clusterIP: None}"))},
		{name: "with an address", check: "headless-services", objects: shop(serving("x", "{clusterIP: 10.0.0.1, selector: {app: cart}}"))},

		{name: "none", check: "udp-ports", objects: shop()},
		{name: "a Service", check: "udp-ports", objects: shop(ports(udp), serving("dns", "{selector: {app: dns}, ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}, {port: 9, protocol: SCTP}]}")), want: []finding{{warn, "Service shop/dns", "spec.ports[].protocol", "traffic to 53/UDP, 9/SCTP goes past the mesh"}}},
		{name: "a container alone", check: "udp-ports", objects: shop(ports(udp, tcp)), want: []finding{{warn, "Deployment shop/dns", "spec.template.spec.containers[].ports[].protocol", "traffic to 53/UDP goes"}}},
		{name: "a container beside another's Service", check: "udp-ports", objects: shop(ports(udp), serving("cart-udp", "{selector: {app: cart}, ports: [{port: 53, protocol: UDP}]}")), want: []finding{
			{warn, "Service shop/cart-udp", "spec.ports[].protocol", "53/UDP"}, {warn, "Deployment shop/dns", "spec.template.spec.containers[].ports[].protocol", "53/UDP"},
		}},
		{name: "TCP", check: "udp-ports", objects: shop(ports(tcp))},
		{name: "a Service of what does not move", check: "udp-ports", objects: shop(serving("dns", "{selector: {app: other}, ports: [{port: 53, protocol: UDP}]}"))},
		{name: "a Service without selector", check: "udp-ports", objects: shop(serving("dns", "{ports: [{port: 53, protocol: UDP}]}"))},
	}
}

// namingOwn is the mesh of shop with pods that name a waypoint for pods.
func namingOwn(more ...any) []any {
	gateway := `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: own, namespace: shop, labels: {istio.io/waypoint-for: workload}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}`
	cart := fixture.Deployment("shop", "cart", fixture.TemplateLabel("istio.io/use-waypoint", "own"))
	return append([]any{fixture.Without("Deployment", shop()...), fixture.Istiod(""), cart, gateway}, more...)
}
