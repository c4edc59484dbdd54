package oracle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
)

// witnessNamespace holds what the oracle writes. It has no labels, and all in it
// concerns itself only.
const witnessNamespace = "oracle-witness"

// witness tells when istiod knows all that was in the cluster at some time.
//
// For each kind of object that bears on calls it keeps an object of its own, and
// writes a mark into each that was never there before. Istiod watches each kind
// by one watch, which brings changes in the order in which they were made, so an
// istiod that serves the mark of a kind has taken in all earlier changes of that
// kind. What it serves to Envoys comes from snapshots of everything that it has
// taken in; once one answer shows the marks of all kinds, later answers are made
// from that snapshot or a later one. What it serves to ztunnels is made of the
// collections themselves, through which changes of a kind pass in their order.
//
// Two limits: Changes of Gateways have no mark of their own, because a waypoint
// counts only after istiod itself has written its status. And the controllers of
// Kubernetes have to be done with their own work, such as EndpointSlices, before
// the question is asked.
type witness struct {
	objects    dynamic.Interface
	connection *grpc.ClientConn

	// asked is the round that is to begin when the one under way is over; nil where
	// nobody has asked for one.
	mutex sync.Mutex
	asked *round
	// running is held by the round under way.
	running sync.Mutex
	number  int
	start   string
}

// round is a look at istiod that all share who asked before it began.
type round struct {
	done chan struct{}
	err  error
}

func newWitness(objects dynamic.Interface, connection *grpc.ClientConn) *witness {
	return &witness{objects: objects, connection: connection, start: fmt.Sprintf("%x", time.Now().UnixNano())}
}

// mark is what is written and looked for in one round.
type mark struct {
	// text never was in the mesh before.
	text string
	// port and address belong to kinds that have no place for a text.
	port    uint32
	address string
}

func (w *witness) next() mark {
	w.number++
	return mark{
		text:    fmt.Sprintf("oracle-%s-%d", w.start, w.number),
		port:    uint32(20000 + w.number%40000), //nolint:gosec // It is small.
		address: fmt.Sprintf("198.18.%d.%d", w.number/250%250, 1+w.number%250),
	}
}

// await returns when istiod knows all that is in the cluster now.
func (w *witness) await(ctx context.Context) error {
	w.mutex.Lock()
	mine := w.asked
	if mine == nil {
		mine = &round{done: make(chan struct{})}
		w.asked = mine
		// One who gives up does not take the round from the others.
		go w.begin(context.WithoutCancel(ctx), mine)
	}
	w.mutex.Unlock()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// begin makes a round when the one under way is over. Who asks from then on asks for
// the next.
func (w *witness) begin(ctx context.Context, mine *round) {
	w.running.Lock()
	defer w.running.Unlock()
	w.mutex.Lock()
	w.asked = nil
	w.mutex.Unlock()
	mine.err = w.mark(ctx)
	close(mine.done)
}

// mark writes a mark of each kind, and returns when istiod shows them.
func (w *witness) mark(ctx context.Context) error {
	m := w.next()
	for _, object := range witnessObjects(m) {
		if err := w.write(ctx, object); err != nil {
			return err
		}
	}
	missing := errors.New("istiod has not been asked")
	err := wait.PollUntilContextTimeout(ctx, pollInterval, patience, true, func(ctx context.Context) (bool, error) {
		err := w.look(ctx, m)
		// An answer that time cut short says nothing.
		if ctx.Err() == nil {
			missing = err
		}
		return err == nil, nil
	})
	if err != nil {
		return errors.Join(err, missing)
	}
	return nil
}

const (
	pollInterval = 100 * time.Millisecond
	patience     = 20 * time.Second
)

// look asks istiod anew and returns what it does not show yet.
func (w *witness) look(ctx context.Context, m mark) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := w.lookAtStatus(ctx, m); err != nil {
		return err
	}
	if err := w.lookAsZtunnel(ctx, m); err != nil {
		return err
	}
	return w.lookAsSidecar(ctx, m)
}

// lookAtStatus looks for the mark of the Namespace where istiod writes down to
// which waypoint the Service is bound.
func (w *witness) lookAtStatus(ctx context.Context, m mark) error {
	services := schema.GroupVersionResource{Version: "v1", Resource: "services"}
	service, err := w.objects.Resource(services).Namespace(witnessNamespace).Get(ctx, "witness", metav1.GetOptions{})
	if err != nil {
		return err
	}
	conditions, _, err := unstructured.NestedSlice(service.Object, "status", "conditions")
	if err != nil {
		return err
	}
	return unseen(map[string]bool{"the Namespace": strings.Contains(fmt.Sprint(conditions), m.text+`"`)})
}

func (w *witness) lookAsZtunnel(ctx context.Context, m mark) error {
	node, err := syntheticNode(kindZtunnel, "istio-system", nil)
	if err != nil {
		return err
	}
	ambient, err := readAmbient(ctx, w.connection, node)
	if err != nil {
		return err
	}
	var pod, service, slice bool
	for _, workload := range ambient.workloads {
		if workload.Namespace == witnessNamespace {
			pod = pod || workload.CanonicalName == m.text
			slice = slice || bytes.Contains([]byte(workload.Uid), []byte(m.address))
		}
	}
	for _, s := range ambient.services {
		if s.Namespace == witnessNamespace && s.Name == "witness" {
			service = len(s.Ports) == 1 && s.Ports[0].ServicePort == m.port
		}
	}
	entry := ambient.services[witnessNamespace+"/witness.example"]
	policy := ambient.policies[witnessNamespace+"/witness"]
	return unseen(map[string]bool{
		"the ServiceEntry":        entry != nil && len(entry.Ports) == 1 && entry.Ports[0].ServicePort == m.port,
		"the Pod":                 pod,
		"the Service":             service,
		"the EndpointSlice":       slice,
		"the AuthorizationPolicy": policy != nil && shows([]proto.Message{policy}, m.text),
	})
}

func (w *witness) lookAsSidecar(ctx context.Context, m mark) error {
	node, err := syntheticNode(kindSidecar, witnessNamespace, map[string]string{"app": "witness"})
	if err != nil {
		return err
	}
	stream, err := openEnvoy(ctx, w.connection, node)
	if err != nil {
		return err
	}
	listeners, err := stream.listeners()
	if err != nil {
		return err
	}
	clusters, err := stream.clusters()
	if err != nil {
		return err
	}
	name := outboundCluster(m.port, "witness."+witnessNamespace+".svc.cluster.local")
	endpoints, err := stream.endpoints([]string{name})
	if err != nil {
		return err
	}
	var policy, authentication, peers, rule, slice, entry bool
	for _, l := range listeners {
		policy = policy || shows([]proto.Message{l}, m.text+"-policy")
		authentication = authentication || shows([]proto.Message{l}, m.text+"-issuer")
		for _, chain := range l.FilterChains {
			peers = peers || l.Name == virtualInbound && chain.FilterChainMatch.GetDestinationPort().GetValue() == m.port
		}
	}
	for _, c := range clusters {
		rule = rule || c.Name == name && shows([]proto.Message{c}, m.text)
		entry = entry || c.Name == outboundCluster(m.port, "witness.example")
	}
	for _, e := range endpoints {
		slice = slice || shows([]proto.Message{e}, m.address)
	}
	return unseen(map[string]bool{
		"the AuthorizationPolicy":             policy,
		"the RequestAuthentication":           authentication,
		"the PeerAuthentication":              peers,
		"the Service and its DestinationRule": rule,
		"the EndpointSlice":                   slice,
		"the ServiceEntry":                    entry,
	})
}

func unseen(seen map[string]bool) error {
	for _, what := range sortedKeys(seen) {
		if !seen[what] {
			return errors.New("istiod does not show the latest of " + what)
		}
	}
	return nil
}

// shows tells whether a text appears anywhere in messages.
func shows(messages []proto.Message, text string) bool {
	for _, message := range messages {
		encoded, err := proto.Marshal(message)
		if err == nil && bytes.Contains(encoded, []byte(text)) {
			return true
		}
	}
	return false
}

// write applies an object as this package's own.
func (w *witness) write(ctx context.Context, object witnessObject) error {
	content := &unstructured.Unstructured{Object: object.content}
	resource := w.objects.Resource(object.resource)
	apply := metav1.ApplyOptions{FieldManager: "oracle", Force: true}
	var err error
	if object.resource.Resource == "namespaces" {
		_, err = resource.Apply(ctx, content.GetName(), content, apply)
	} else {
		_, err = resource.Namespace(witnessNamespace).Apply(ctx, content.GetName(), content, apply)
	}
	if err != nil {
		return fmt.Errorf("writing %s %s: %w", object.resource.Resource, content.GetName(), err)
	}
	return nil
}

// remove deletes the namespace and waits until it is gone.
func (w *witness) remove(ctx context.Context) error {
	namespaces := w.objects.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	if err := namespaces.Delete(ctx, witnessNamespace, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing namespace %s: %w", witnessNamespace, err)
	}
	return wait.PollUntilContextTimeout(ctx, pollInterval, patience, true, func(ctx context.Context) (bool, error) {
		_, err := namespaces.Get(ctx, witnessNamespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}
