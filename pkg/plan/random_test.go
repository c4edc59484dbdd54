package plan_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/internal/randommesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

var (
	firstSeed = flag.Uint64("seed", 0, "the first seed of TestRandomMeshes")
	seeds     = flag.Uint64("seeds", 300, "how many seeds TestRandomMeshes draws")
)

// realized is a drawn mesh as it is once Istio has been at work: with pods, those
// of sidecars injected, and addresses.
func realized(t *testing.T, drawn randommesh.Mesh) []unstructured.Unstructured {
	t.Helper()
	configuration := randommesh.MeshConfig()
	configuration["rootNamespace"] = randommesh.RootNamespace
	configuration["defaultConfig"] = map[string]any{"proxyMetadata": map[string]any{"ISTIO_META_ENABLE_HBONE": "true"}}
	text, err := yaml.Marshal(configuration)
	if err != nil {
		t.Fatal(err)
	}
	parts := []any{
		fixture.Without("ConfigMap", fixture.Installation()...), fixture.MeshConfig(string(text)),
		fixture.CNIConfig(fixture.System, map[string]string{"AMBIENT_ENABLED": "true", "EXCLUDE_NAMESPACES": "kube-system"}),
	}
	modes := map[string]func(*corev1.Pod){}
	for i, object := range drawn.Objects {
		object = *object.DeepCopy()
		object.SetUID(fixture.UID(object.GetKind(), object.GetNamespace(), object.GetName()))
		object.SetResourceVersion("1")
		object.SetGeneration(1)
		object.SetCreationTimestamp(metav1.NewTime(fixture.Created))
		switch object.GetKind() {
		case "Namespace":
			labels := maps.Clone(object.GetLabels())
			if labels == nil {
				labels = map[string]string{}
			}
			labels[corev1.LabelMetadataName] = object.GetName()
			object.SetLabels(labels)
			modes[object.GetName()] = fixture.Sidecar
			if labels["istio.io/dataplane-mode"] == "ambient" {
				modes[object.GetName()] = fixture.Ambient
			}
		case "Service":
			if _, headless, _ := unstructured.NestedString(object.Object, "spec", "clusterIP"); !headless {
				set(t, &object, fmt.Sprintf("10.96.%d.%d", drawn.Seed%250, i), "spec", "clusterIP")
			}
		case "Deployment", "StatefulSet":
			parts = append(parts, podsOf(t, &object, modes[object.GetNamespace()]))
		}
		parts = append(parts, object)
	}
	return withEndpoints(t, drawn, fixture.Objects(parts...))
}

// withEndpoints adds the EndpointSlices that somebody writes of the pods that there
// are, in place of former ones.
func withEndpoints(t *testing.T, drawn randommesh.Mesh, objects []unstructured.Unstructured) []unstructured.Unstructured {
	t.Helper()
	for _, endpoints := range drawn.Endpoints {
		name := endpoints.Service + "-1"
		objects = slices.DeleteFunc(objects, func(object unstructured.Unstructured) bool {
			return object.GetKind() == mesh.KindEndpointSlice && object.GetName() == name && object.GetNamespace() == drawn.Namespace
		})
		var written []any
		for i := range objects {
			pod := &objects[i]
			if pod.GetKind() != mesh.KindPod || pod.GetNamespace() != drawn.Namespace || pod.GetLabels()["app"] != endpoints.App {
				continue
			}
			address := fmt.Sprintf("10.1.%d.%d", i/250, i%250)
			set(t, pod, address, "status", "podIP")
			endpoint := map[string]any{"addresses": []any{address}}
			if endpoints.Bound {
				endpoint["targetRef"] = map[string]any{"kind": mesh.KindPod, "namespace": drawn.Namespace, "name": pod.GetName()}
			}
			written = append(written, endpoint)
		}
		slice := unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "discovery.k8s.io/v1", "kind": mesh.KindEndpointSlice, "addressType": "IPv4", "endpoints": written,
			"metadata": map[string]any{"namespace": drawn.Namespace, "name": name, "labels": map[string]any{discoveryv1.LabelServiceName: endpoints.Service}},
			"ports":    []any{map[string]any{"name": endpoints.PortName, "port": endpoints.Port, "protocol": "TCP"}},
		}}
		slice.SetUID(fixture.UID(mesh.KindEndpointSlice, drawn.Namespace, name))
		objects = append(objects, slice)
	}
	return objects
}

func set(t *testing.T, object *unstructured.Unstructured, value any, path ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(object.Object, value, path...); err != nil {
		t.Fatal(err)
	}
}

// podsOf are the pods of a Deployment or a StatefulSet, whose status it writes.
func podsOf(t *testing.T, object *unstructured.Unstructured, mode func(*corev1.Pod)) []any {
	t.Helper()
	var deployment appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &deployment); err != nil {
		t.Fatal(err)
	}
	var edits []func(*corev1.Pod)
	_, gateway := deployment.Spec.Template.Annotations["inject.istio.io/templates"]
	if !gateway && deployment.Spec.Template.Labels["sidecar.istio.io/inject"] != "false" {
		edits = append(edits, mode)
	}
	return made(t, object, edits...)
}

// movedPods are those of a workload that has been restarted without sidecars.
func movedPods(t *testing.T, object *unstructured.Unstructured) []any {
	t.Helper()
	return made(t, object, fixture.Ambient)
}

// made are pods of a workload's template.
func made(t *testing.T, object *unstructured.Unstructured, edits ...func(*corev1.Pod)) []any {
	t.Helper()
	var deployment appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &deployment); err != nil {
		t.Fatal(err)
	}
	if object.GetKind() == "StatefulSet" {
		var statefulSet appsv1.StatefulSet
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &statefulSet); err != nil {
			t.Fatal(err)
		}
		status := fixture.StatefulSet(object.GetNamespace(), object.GetName()).Status
		object.Object["status"] = plainly(t, status)
		return fixture.PodsOfSet(&statefulSet, edits...)
	}
	object.Object["status"] = plainly(t, fixture.Deployment(object.GetNamespace(), object.GetName()).Status)
	return fixture.PodsOf(&deployment, edits...)
}

func plainly(t *testing.T, value any) any {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var plain map[string]any
	if err := json.Unmarshal(data, &plain); err != nil {
		t.Fatal(err)
	}
	return plain
}

// mostBad is after how many bad seeds nobody wants to read of another.
const mostBad = 3

// TestRandomMeshes wants of the plan for any mesh what nobody reads a golden file
// for.
func TestRandomMeshes(t *testing.T) {
	bad := 0
	for seed := *firstSeed; seed < *firstSeed+*seeds && bad < mostBad; seed++ {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { wantRight(t, randommesh.New(seed)) }) {
			bad++
		}
	}
}

func wantRight(t *testing.T, drawn randommesh.Mesh) {
	t.Helper()
	objects := realized(t, drawn)
	snapshot := fixture.Snapshot(objects)
	options := plan.Options{Translation: drawn.Options}
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, drawn.Namespace), options)
	if err != nil {
		t.Fatal(err)
	}
	wantDeterministic(t, planned, snapshot, drawn, options)
	wantSafe(t, drawn, snapshot, planned)
	wantNothingLeft(t, drawn, objects, planned, options)
}

func wantDeterministic(t *testing.T, planned v1alpha1.MigrationPlan, snapshot *mesh.Snapshot, drawn randommesh.Mesh, options plan.Options) {
	t.Helper()
	again, err := plan.Enroll(snapshot, fixture.Find(snapshot, drawn.Namespace), options)
	if err != nil || outcome(again) != outcome(planned) {
		t.Errorf("planned again, it is another plan: %v", err)
	}
}

// wantSafe wants calls through waypoints to be decided as before, and none to be
// let in that was not, but for what the plan names and blocks for.
func wantSafe(t *testing.T, drawn randommesh.Mesh, snapshot *mesh.Snapshot, planned v1alpha1.MigrationPlan) {
	t.Helper()
	translation, err := translate.Namespace(snapshot, fixture.Find(snapshot, drawn.Namespace), drawn.Options)
	if err != nil {
		t.Fatal(err)
	}
	excuses := excuses{snapshot, access.Of(snapshot, []string{drawn.Namespace}, access.Overlay{}), translation}
	for _, change := range planned.Access.Changes {
		if len(change.Kinds)+1 != change.Alike {
			t.Errorf("%d kinds are alike, and %d are told besides the one that stands for them: %+v", change.Alike, len(change.Kinds), change)
		}
		if excuses.any(change) {
			continue
		}
		if change.Effect == v1alpha1.CallNewlyAllowed && drawn.Options.MixedCallers != translate.MixedCallersLayer4 {
			t.Errorf("a call is let in: %s: %s", change.Server, checks.DescribeChange(change))
		}
		if passesBy(change) && drawn.Options.MixedCallers == translate.MixedCallersBlock && !fails(planned, checks.IDMixedCallers) {
			t.Errorf("a caller is not waited for: %s: %s", change.Server, checks.DescribeChange(change))
		}
		if change.Caller.Mode == string(access.ModeAmbient) && excuses.fronted(change.Service) {
			t.Errorf("the waypoint decides otherwise (%s): %s: %s", drawn.Options.MixedCallers, change.Server, checks.DescribeChange(change))
		}
	}
}

// passesBy says whether a call to a Service passes by its waypoint: servers wait for
// such callers.
func passesBy(change v1alpha1.CallChange) bool {
	return change.Service != nil && change.Effect == v1alpha1.CallNewlyDenied &&
		(change.Caller.Mode == string(access.ModeSidecar) || change.Caller.Mode == string(access.ModeGateway))
}

func fails(planned v1alpha1.MigrationPlan, id string) bool {
	return slices.ContainsFunc(planned.Gates, func(gate v1alpha1.CheckResult) bool { return gate.ID == id && gate.Status == v1alpha1.StatusFail })
}

// wantNothingLeft carries the plan out and plans again: nothing is left to be
// created or changed.
func wantNothingLeft(t *testing.T, drawn randommesh.Mesh, objects []unstructured.Unstructured, planned v1alpha1.MigrationPlan, options plan.Options) {
	t.Helper()
	snapshot := fixture.Snapshot(withEndpoints(t, drawn, carriedOut(t, objects, planned)))
	again, err := plan.Enroll(snapshot, fixture.Find(snapshot, drawn.Namespace), options)
	if err != nil {
		t.Fatalf("once it is carried out: %v", err)
	}
	for _, step := range again.Steps {
		for _, change := range step.Changes {
			t.Errorf("once it is carried out: step %s is left to be done: %s %v", step.ID, change.Object, change.Fields)
		}
	}
}

// carriedOut is a mesh after all steps of a plan, with the pods that it has then.
func carriedOut(t *testing.T, objects []unstructured.Unstructured, planned v1alpha1.MigrationPlan) []unstructured.Unstructured {
	t.Helper()
	restarted := map[string]bool{}
	var after []unstructured.Unstructured
	for _, object := range objects {
		after = append(after, *object.DeepCopy())
	}
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			if change.Create != nil {
				created := unstructured.Unstructured{Object: runtime.DeepCopyJSON(change.Create)}
				created.SetUID(fixture.UID(created.GetKind(), created.GetNamespace(), created.GetName()))
				created.SetGeneration(1)
				after = append(after, created)
				continue
			}
			i := slices.IndexFunc(after, func(object unstructured.Unstructured) bool { return names(change.Object, object) })
			if i < 0 {
				t.Fatalf("step %s: %s is not there", step.ID, change.Object)
			}
			changed, err := plan.Apply(after[i].Object, change.Fields)
			if err != nil {
				t.Fatal(err)
			}
			after[i].Object = changed
			restarted[change.Object.Name] = restarted[change.Object.Name] || step.Phase == v1alpha1.PhaseRestartWorkloads
		}
	}
	after = slices.DeleteFunc(after, func(object unstructured.Unstructured) bool {
		name, _, _ := unstructured.NestedString(object.Object, "metadata", "labels", "app")
		template, _, _ := unstructured.NestedString(object.Object, "spec", "template", "metadata", "labels", "app")
		return object.GetNamespace() == planned.Namespace && (object.GetKind() == mesh.KindPod && restarted[name] || object.GetKind() == mesh.KindReplicaSet && restarted[template])
	})
	var moved []any
	for i := range after {
		object := &after[i]
		if kind := object.GetKind(); object.GetNamespace() == planned.Namespace && restarted[object.GetName()] && (kind == mesh.KindDeployment || kind == mesh.KindStatefulSet) {
			set(t, object, map[string]any{}, "status")
			moved = append(moved, movedPods(t, object))
		}
	}
	return append(after, fixture.Objects(moved...)...)
}

// excuses are what may change decisions.
type excuses struct {
	snapshot *mesh.Snapshot
	// state is how calls are decided today.
	state       *access.State
	translation translate.Translation
}

// any says whether one of them holds for a change.
func (e excuses) any(change v1alpha1.CallChange) bool {
	return e.unsolved(change) || e.lost(change) || e.awaited(change) || e.readOtherwise(change) || e.namedOtherwise(change) || e.askedTwice(change) || e.outside(change) ||
		e.plaintext(change) || e.unspoken(change) || e.tokenSeen(change) || e.checkedAlready(change) || e.unproven(change)
}

// tokenSeen: a waypoint reads tokens at ports of headless Services that are declared
// to carry no HTTP, where sidecars do not look for any.
func (e excuses) tokenSeen(change v1alpha1.CallChange) bool {
	return change.Effect == v1alpha1.CallNewlyDenied && change.After.Point == string(access.AtWaypoint) && change.Request.Token != "" &&
		slices.ContainsFunc(e.state.Services, func(service *access.Service) bool {
			return change.Service != nil && service.Reference == *change.Service && service.Headless &&
				slices.ContainsFunc(service.Ports, func(port access.ServicePort) bool {
					return port.Port == change.Port && port.Protocol == access.ProtocolTCP
				})
		})
}

// unproven: ztunnel proves nothing to an endpoint that is an address only, and a
// waypoint in front of it does: what is refused for want of an identity is let in.
// calls-newly-allowed blocks for that.
func (e excuses) unproven(change v1alpha1.CallChange) bool {
	return change.Effect == v1alpha1.CallNewlyAllowed && change.Caller.Mode == string(access.ModeAmbient) && change.Service != nil &&
		slices.ContainsFunc(e.state.Services, func(service *access.Service) bool {
			return service.Reference == *change.Service && service.Selector == nil
		})
}

// checkedAlready: a RequestAuthentication that its owner has attached to a waypoint,
// or to a Service, that had none checks the token from now on, and may take it from
// the sidecar behind it.
func (e excuses) checkedAlready(change v1alpha1.CallChange) bool {
	return change.Request.Token != "" && change.Service != nil && slices.ContainsFunc(e.snapshot.Extensions(), func(extension mesh.Extension) bool {
		return extension.Reference.Kind == mesh.KindRequestAuthentication && slices.ContainsFunc(extension.Targets, func(target mesh.Target) bool {
			return target.Is(*change.Service) && target.Name == change.Service.Name || target.Kind == mesh.KindGateway
		})
	})
}

// namedOtherwise: a policy asks for the name that a TLS client asks for, which
// between sidecars is the mesh's own. calls-compared says so, and blocks.
func (e excuses) namedOtherwise(change v1alpha1.CallChange) bool {
	return change.Request.ServerName != ""
}

// askedTwice: a sidecar behind the waypoint leaves the call to an external
// authorizer, too, where it goes by addresses: over HBONE no CUSTOM policy sees who
// calls, so that none passes over the waypoint.
func (e excuses) askedTwice(change v1alpha1.CallChange) bool {
	return change.After.Outcome == "delegated" && change.After.Point == string(access.AtSidecar)
}

// outside: the server has no proxy that would enforce today what selects it, and
// stands behind a Service whose waypoint will.
func (e excuses) outside(change v1alpha1.CallChange) bool {
	return change.Effect == v1alpha1.CallNewlyDenied && change.After.Point == string(access.AtWaypoint) &&
		slices.ContainsFunc(e.state.Servers, func(server *access.Server) bool {
			return server.Workload == change.Server && server.Mode == access.ModeOutside
		})
}

// plaintext: a sidecar speaks in one way to all pods of a headless Service, which is
// plaintext from the first one on that does not promise mTLS: it is then refused by
// no policy that names it. calls-newly-allowed blocks for that, and STRICT is what
// helps.
func (e excuses) plaintext(change v1alpha1.CallChange) bool {
	return change.Caller.Mode != string(access.ModeAmbient) && slices.ContainsFunc(e.state.Servers, func(server *access.Server) bool {
		return server.Workload == change.Server && slices.ContainsFunc(server.Services(), func(service *access.Service) bool {
			return service.Headless && (change.Service == nil || service.Reference == *change.Service)
		})
	})
}

// unspoken: something else than HTTP on a port that is declared to carry HTTP gets
// nowhere.
func (e excuses) unspoken(change v1alpha1.CallChange) bool {
	return change.Request.Method == "" && change.Service != nil && slices.ContainsFunc(e.state.Services, func(service *access.Service) bool {
		return service.Reference == *change.Service && slices.ContainsFunc(service.Ports, func(port access.ServicePort) bool {
			return port.Port == change.Port && port.Protocol == access.ProtocolHTTP
		})
	})
}

// fronted says whether ambient callers of a Service go through a waypoint.
func (e excuses) fronted(service *v1alpha1.ObjectReference) bool {
	return service != nil && (slices.ContainsFunc(e.translation.Services, func(one translate.ServiceWaypoint) bool {
		return one.WaypointName != "" && one.Need.Service == *service
	}) || slices.ContainsFunc(e.translation.Direct, func(one translate.WorkloadWaypoint) bool {
		return slices.Contains(one.Services, *service)
	}))
}

// lost: what refused the call is a policy of which a part ends, as waypoint-losses
// says and blocks for: one for pods that only headless Services lead to, or none.
func (e excuses) lost(change v1alpha1.CallChange) bool {
	return len(change.Before.Policies) > 0 && !slices.ContainsFunc(change.Before.Policies, func(policy v1alpha1.ObjectReference) bool {
		return !slices.ContainsFunc(e.translation.Losses, func(loss translate.Loss) bool { return loss.Object == policy && loss.Security })
	})
}

// unsolved: a policy that decides the call, then or now, or that has a copy that
// does, cannot be carried over as it should, as carried-over says and blocks for. So
// it is with one whose copy is beside those for the Service that is called, and may
// allow what they do not.
func (e excuses) unsolved(change v1alpha1.CallChange) bool {
	return slices.ContainsFunc(e.translation.Problems, func(problem translate.Problem) bool {
		beside := slices.ContainsFunc(e.translation.Before, func(object translate.Object) bool {
			return change.Service != nil && object.Origin == problem.Object && object.Service == *change.Service
		})
		return beside || slices.ContainsFunc(slices.Concat(change.Before.Policies, change.After.Policies), func(policy v1alpha1.ObjectReference) bool {
			return policy == problem.Object || slices.ContainsFunc(e.translation.Before, func(object translate.Object) bool {
				return object.Reference == policy && object.Origin == problem.Object
			})
		})
	})
}

// awaited: a policy decides the call now that its owner has attached to a waypoint,
// or to a Service, that had none: policy-waypoints says that it restricts nothing
// yet. One with action ALLOW allows, beside the copies, what they would refuse.
func (e excuses) awaited(change v1alpha1.CallChange) bool {
	return slices.ContainsFunc(e.snapshot.AuthorizationPolicies(), func(policy *securityv1.AuthorizationPolicy) bool {
		targets := mesh.TargetsOf(&policy.Spec)
		if change.Effect == v1alpha1.CallNewlyAllowed {
			return slices.ContainsFunc(targets, func(target mesh.Target) bool {
				return change.Service != nil && (target.Is(*change.Service) && target.Name == change.Service.Name || target.Kind == mesh.KindGateway)
			})
		}
		return len(targets) > 0 && slices.ContainsFunc(change.After.Policies, func(reference v1alpha1.ObjectReference) bool {
			return policy.Name == reference.Name && policy.Namespace == reference.Namespace
		})
	})
}

// readOtherwise: Services declare different protocols for one port of the pods, to
// whose sidecar the oldest of them applies, and to a waypoint that which is called.
func (e excuses) readOtherwise(change v1alpha1.CallChange) bool {
	if change.Service == nil {
		return false
	}
	for _, server := range e.state.Servers {
		called := slices.IndexFunc(server.Services(), func(service *access.Service) bool { return service.Reference == *change.Service })
		if server.Workload != change.Server || called < 0 {
			continue
		}
		port := server.PodPort(server.Services()[called], change.Port)
		protocols := map[access.Protocol]bool{}
		for _, service := range server.Services() {
			if service.Selector == nil {
				// A sidecar may not heed what a Service without selector declares.
				protocols[access.ProtocolUndeclared] = true
			}
			for _, other := range service.Ports {
				if server.PodPort(service, other.Port) == port {
					protocols[other.Protocol] = true
				}
			}
		}
		if len(protocols) > 1 {
			return true
		}
	}
	return false
}
