package oracle

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"istio.io/istio/pkg/workloadapi"
)

// readers is how many proxies are played at a time.
const readers = 4

// clusterID is the name of a cluster that has been given none.
const clusterID = "Kubernetes"

// Oracle reads what one istiod serves. It keeps a namespace, oracle-witness, in
// the cluster until it is closed.
type Oracle struct {
	connection *grpc.ClientConn
	client     kubernetes.Interface
	witness    *witness
}

// New returns an oracle for the istiod with the given address of plaintext xDS
// and the cluster that it serves. Reading many pods is quicker if istiod runs
// with a high PILOT_MAX_REQUESTS_PER_SECOND.
func New(config *rest.Config, address string) (*Oracle, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("starting the oracle: %w", err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("starting the oracle: %w", err)
	}
	connection, err := connect(address)
	if err != nil {
		return nil, fmt.Errorf("starting the oracle: %w", err)
	}
	return &Oracle{
		connection: connection,
		client:     client,
		witness:    newWitness(objects, connection),
	}, nil
}

// Close removes what the oracle has put into the cluster and disconnects.
func (o *Oracle) Close(ctx context.Context) error {
	removed := o.witness.remove(ctx)
	if err := o.connection.Close(); removed == nil {
		removed = err
	}
	return removed
}

// Await returns as soon as istiod knows all that is in the cluster at the time of the
// call.
func (o *Oracle) Await(ctx context.Context) error {
	if err := o.witness.await(ctx); err != nil {
		return fmt.Errorf("waiting for istiod: %w", err)
	}
	return nil
}

// Read returns what istiod serves to the pods and to the callers of the given
// namespaces, and to the waypoints that these use, as soon as istiod knows all that
// is in the cluster at the time of the call. Nobody must change that part of the
// mesh meanwhile.
func (o *Oracle) Read(ctx context.Context, namespaces ...string) (*State, error) {
	if err := o.Await(ctx); err != nil {
		return nil, err
	}
	state, err := o.read(ctx, namespaces)
	if err != nil {
		return nil, fmt.Errorf("reading what istiod serves: %w", err)
	}
	return state, nil
}

func (o *Oracle) read(ctx context.Context, namespaces []string) (*State, error) {
	node, err := syntheticNode(kindZtunnel, "istio-system", nil)
	if err != nil {
		return nil, err
	}
	ambient, err := readAmbient(ctx, o.connection, node)
	if err != nil {
		return nil, err
	}
	pods, err := o.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	state := newState(ambient)
	if err := state.addWaypoints(ambient, namespaces); err != nil {
		return nil, err
	}
	if err := state.addPods(pods.Items, ambient.workloads, namespaces); err != nil {
		return nil, err
	}
	return state, o.readEnvoys(ctx, state, namespaces)
}

func newState(ambient *ambientResources) *State {
	return &State{
		pods:      map[types.NamespacedName]*server{},
		addresses: map[netip.Addr]*server{},
		services:  ambient.services,
		members:   map[string][]*server{},
		policies:  ambient.policies,
		callers:   map[callerKey]*view{},
		waypoints: map[string]bool{},
		addressed: addressed(ambient.workloads),
	}
}

// addressed returns the workloads that are no pods but addresses that somebody has
// written down, by the Services that they are endpoints of.
func addressed(workloads map[string]*workloadapi.Workload) map[string][]*workloadapi.Workload {
	result := map[string][]*workloadapi.Workload{}
	for _, name := range sortedKeys(workloads) {
		if strings.Contains(name, "/EndpointSlice/") {
			for service := range workloads[name].Services {
				result[service] = append(result[service], workloads[name])
			}
		}
	}
	return result
}

// addWaypoints notes in which namespaces the waypoints are that the workloads and
// Services of some namespaces use.
func (s *State) addWaypoints(ambient *ambientResources, namespaces []string) error {
	var used []*workloadapi.GatewayAddress
	for _, workload := range ambient.workloads {
		if workload.Waypoint != nil && slices.Contains(namespaces, workload.Namespace) {
			used = append(used, workload.Waypoint)
		}
	}
	for _, service := range ambient.services {
		if service.Waypoint != nil && slices.Contains(namespaces, service.Namespace) {
			used = append(used, service.Waypoint)
		}
	}
	for _, waypoint := range used {
		key, err := s.waypointKey(waypoint)
		if err != nil {
			return err
		}
		namespace, _, _ := strings.Cut(key, "/")
		s.waypoints[namespace] = true
	}
	return nil
}

// addPods takes in the pods of the namespaces, and waypoints where those they use
// are.
func (s *State) addPods(pods []corev1.Pod, workloads map[string]*workloadapi.Workload, namespaces []string) error {
	for i := range pods {
		pod := &pods[i]
		kind := podKind(pod)
		if !isServing(pod) || !slices.Contains(namespaces, pod.Namespace) && (kind != kindWaypoint || !s.waypoints[pod.Namespace]) {
			continue
		}
		name := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
		address, err := netip.ParseAddr(pod.Status.PodIP)
		if err != nil {
			return fmt.Errorf("pod %s: %w", name, err)
		}
		workload := workloads[clusterID+"//Pod/"+name.String()]
		if workload == nil {
			return fmt.Errorf("pod %s: istiod serves no workload for it", name)
		}
		added := &server{pod: pod, address: address, workload: workload, kind: kind, policies: policiesOf(s.policies, workload)}
		s.pods[name] = added
		s.addresses[address] = added
		for service := range workload.Services {
			s.members[service] = append(s.members[service], added)
		}
	}
	return nil
}

// isServing tells whether a pod is one that istiod knows.
func isServing(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning && pod.Status.PodIP != "" && !pod.Spec.HostNetwork
}

// readEnvoys plays the Envoys of servers and callers, some at a time.
func (o *Oracle) readEnvoys(ctx context.Context, state *State, namespaces []string) error {
	var tasks []func(context.Context) error
	for _, s := range state.pods {
		if s.kind == kindSidecar || s.kind == kindWaypoint {
			tasks = append(tasks, func(ctx context.Context) error { return o.readServer(ctx, s) })
		}
	}
	var mutex sync.Mutex
	for _, namespace := range namespaces {
		for _, kind := range []string{kindSidecar, kindRouter} {
			tasks = append(tasks, func(ctx context.Context) error {
				v, err := o.readCaller(ctx, kind, namespace)
				mutex.Lock()
				defer mutex.Unlock()
				state.callers[callerKey{namespace, kind}] = v
				return err
			})
		}
	}
	return inParallel(ctx, readers, tasks)
}

// inParallel runs the tasks, a number at a time, until one fails.
func inParallel(ctx context.Context, limit int, tasks []func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan func(context.Context) error)
	var group sync.WaitGroup
	for range limit {
		group.Go(func() {
			for task := range queue {
				if err := task(ctx); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, task := range tasks {
		if ctx.Err() != nil {
			break
		}
		queue <- task
	}
	close(queue)
	group.Wait()
	return context.Cause(ctx)
}

func (o *Oracle) readServer(ctx context.Context, s *server) error {
	node, err := podNode(s.kind, s.pod)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := openEnvoy(ctx, o.connection, node)
	if err != nil {
		return err
	}
	listeners, err := stream.listeners()
	if err != nil {
		return err
	}
	s.listeners = map[string]*envoyListener{}
	for _, l := range listeners {
		if l.Name != virtualInbound && l.Name != connectTerminate && l.Name != mainInternal {
			continue
		}
		if s.listeners[l.Name], err = newListener(l); err != nil {
			return fmt.Errorf("%s %s: %w", s.kind, s.name(), err)
		}
	}
	if s.kind == kindWaypoint {
		s.view, err = readView(stream, nil)
	}
	return err
}

// readCaller asks for what the proxies of callers in a namespace know.
func (o *Oracle) readCaller(ctx context.Context, kind, namespace string) (*view, error) {
	node, err := syntheticNode(kind, namespace, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := openEnvoy(ctx, o.connection, node)
	if err != nil {
		return nil, err
	}
	var listeners []*listener.Listener
	if kind == kindSidecar {
		if listeners, err = stream.listeners(); err != nil {
			return nil, err
		}
	}
	return readView(stream, listeners)
}

func readView(stream *envoyStream, listeners []*listener.Listener) (*view, error) {
	clusters, err := stream.clusters()
	if err != nil {
		return nil, err
	}
	endpoints, err := stream.endpoints(edsNames(clusters))
	if err != nil {
		return nil, err
	}
	return newView(listeners, clusters, endpoints)
}
