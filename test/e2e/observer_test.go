package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// What an observer sees of two kinds it sees by two watches, of which one may be
// behind the other for a moment: it judges what it has seen by what it knows after
// that.
const behindBy = 2 * time.Second

// cniReaction is how long istio-cni may take to capture a pod that it is told to: on a
// node it does before the pod starts, its double after it has become ready, and on a
// loaded machine.
const cniReaction = 15 * time.Second

// excuse is what a test does itself to a namespace, so that runs are not to blame.
type excuse int

const (
	// takesPods: the test takes pods away, or keeps them from coming up.
	takesPods excuse = iota
	// takesCapture: the test takes pods out of ambient mode, or keeps them out.
	takesCapture
)

// observer follows the Pods and the EndpointSlices of every namespace that tests make,
// from before its first pod to the end of its test. Ready pods of a workload, and ready
// endpoints of a Service, never are fewer than the workload's strategy and
// PodDisruptionBudget allow; no ready pod of a workload that had sidecars has neither
// a sidecar nor is captured.
type observer struct {
	stores map[string]cache.Indexer

	mu       sync.Mutex
	watched  map[string]*watched
	pending  sync.WaitGroup
	observed struct{ namespaces, pods, endpoints, violations int }
}

// watched is what an observer knows of a namespace.
type watched struct {
	excused map[excuse]bool
	// serving are workloads and Services, by kind and name.
	serving map[string]*serving
	// protected are the workloads that had sidecars, evicted those of which pods were
	// evicted.
	protected, evicted map[string]bool
	protection         protection
	violations         map[string]bool
}

// serving is what a workload or a Service has to serve with.
type serving struct {
	uid    types.UID
	wanted int
	// reached is true once as many were ready as are wanted.
	reached bool
}

// observeAll starts to observe what tests make in a cluster.
func observeAll(ctx context.Context, config *rest.Config) (*observer, error) {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	o := &observer{stores: map[string]cache.Indexer{}, watched: map[string]*watched{}}
	factory := informers.NewSharedInformerFactory(client, 0)
	apps, core := factory.Apps().V1(), factory.Core().V1()
	for kind, informer := range map[string]cache.SharedIndexInformer{
		"Namespace": core.Namespaces().Informer(), "Service": core.Services().Informer(), "Deployment": apps.Deployments().Informer(),
		"StatefulSet": apps.StatefulSets().Informer(), "DaemonSet": apps.DaemonSets().Informer(), "ReplicaSet": apps.ReplicaSets().Informer(),
		"PodDisruptionBudget": factory.Policy().V1().PodDisruptionBudgets().Informer(),
		"Pod":                 core.Pods().Informer(), "EndpointSlice": factory.Discovery().V1().EndpointSlices().Informer(),
	} {
		o.stores[kind] = informer.GetIndexer()
		if kind == "PodDisruptionBudget" || kind == "ReplicaSet" || kind == "Service" {
			continue
		}
		handler := cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { o.look(object, false) },
			UpdateFunc: func(_, object any) { o.look(object, false) },
			DeleteFunc: func(object any) { o.look(object, true) },
		}
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return o, ctx.Err()
}

// begin observes a namespace until end.
func (o *observer) begin(namespace string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.observed.namespaces++
	o.watched[namespace] = &watched{
		excused: map[excuse]bool{}, serving: map[string]*serving{}, protected: map[string]bool{}, evicted: map[string]bool{},
		protection: protection{pods: map[types.UID]*protectedPod{}}, violations: map[string]bool{},
	}
}

// excuse says what a test does itself to a namespace.
func (o *observer) excuse(namespace string, what ...excuse) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, excused := range what {
		o.watched[namespace].excused[excused] = true
	}
}

// end fails the test where something was not as it has to be.
func (o *observer) end(t *testing.T, namespace string) {
	t.Helper()
	o.pending.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.watched[namespace] == nil {
		// The test has ended it before.
		return
	}
	violations := slices.Sorted(maps.Keys(o.watched[namespace].violations))
	delete(o.watched, namespace)
	for _, violation := range violations {
		o.observed.violations++
		t.Errorf("observed in namespace %s: %s", namespace, violation)
	}
}

// String has the counts.
func (o *observer) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return fmt.Sprintf("observed: %d namespaces, %d states of pods, %d of endpoints; violations: %d",
		o.observed.namespaces, o.observed.pods, o.observed.endpoints, o.observed.violations)
}

// look looks at a namespace of which something has changed, or is gone.
func (o *observer) look(object any, gone bool) {
	if last, unknown := object.(cache.DeletedFinalStateUnknown); unknown {
		object = last.Obj
	}
	meta, ok := object.(metav1.Object)
	if !ok {
		return
	}
	namespace := meta.GetNamespace()
	if _, itself := object.(*corev1.Namespace); itself {
		namespace = meta.GetName()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	watched := o.watched[namespace]
	if watched == nil || o.terminating(namespace) {
		return
	}
	switch object := object.(type) {
	case *corev1.Namespace:
		o.lookAtCapture(object, watched)
	case *corev1.Pod:
		o.observed.pods++
		if isEvicted(object) {
			watched.evicted[workloadOf(object)] = true
		}
		o.lookAtProtection(object, gone, watched)
	case *discoveryv1.EndpointSlice:
		o.observed.endpoints++
	}
	o.lookAtServing(namespace, watched)
}

func (o *observer) terminating(namespace string) bool {
	object, found, err := o.stores["Namespace"].GetByKey(namespace)
	return err != nil || !found || object.(*corev1.Namespace).DeletionTimestamp != nil
}

// lookAtServing notes what fewer serve than may.
func (o *observer) lookAtServing(namespace string, watched *watched) {
	for name, now := range o.serve(namespace, watched) {
		state := watched.serving[name]
		if state == nil || state.wanted != now.wanted || state.uid != now.uid {
			state = &serving{uid: now.uid, wanted: now.wanted}
			watched.serving[name] = state
		}
		state.reached = state.reached || now.ready >= now.wanted
		if !state.reached || now.ready >= now.least {
			continue
		}
		o.later(behindBy, namespace, watched, func() string {
			known, there := o.serve(namespace, watched)[name]
			if watched.excused[takesPods] || !there || known.uid != now.uid || known.wanted != now.wanted || now.ready >= known.least {
				return ""
			}
			return fmt.Sprintf("%s: %d of %d are ready, at least %d have to be", name, now.ready, now.wanted, now.least)
		})
	}
}

// later judges something when what is known is not behind any more.
func (o *observer) later(after time.Duration, namespace string, watched *watched, judge func() string) {
	judged := func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.watched[namespace] != watched || o.terminating(namespace) {
			return
		}
		if violation := judge(); violation != "" {
			watched.violations[violation] = true
		}
	}
	if after > behindBy {
		time.AfterFunc(after, judged)
		return
	}
	o.pending.Add(1)
	time.AfterFunc(after, func() {
		defer o.pending.Done()
		judged()
	})
}

// capacity is how many serve now, how many are to, and how many at least.
type capacity struct {
	uid                  types.UID
	ready, wanted, least int
}

// serve is what each workload and Service of a namespace serves with.
func (o *observer) serve(namespace string, watched *watched) map[string]capacity {
	result := map[string]capacity{}
	templates := map[string]labels.Set{}
	pods := map[string]int{}
	for _, pod := range in[*corev1.Pod](o, "Pod", namespace) {
		if pod.DeletionTimestamp == nil && ready(pod) {
			pods[workloadOf(pod)]++
		}
	}
	add := func(kind string, workload metav1.Object, template *corev1.PodTemplateSpec, wanted, fewer int, byHand bool) {
		name := kind + "/" + workload.GetName()
		if byHand || watched.evicted[name] {
			fewer = max(fewer, o.evictable(namespace, template.Labels, wanted))
		}
		result[name] = capacity{uid: workload.GetUID(), ready: pods[name], wanted: wanted, least: max(0, wanted-fewer)}
		templates[name] = template.Labels
	}
	for _, d := range in[*appsv1.Deployment](o, "Deployment", namespace) {
		add("Deployment", d, &d.Spec.Template, int(*d.Spec.Replicas), fewerOf(d), false)
	}
	for _, s := range in[*appsv1.StatefulSet](o, "StatefulSet", namespace) {
		byHand := s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType
		add("StatefulSet", s, &s.Spec.Template, int(*s.Spec.Replicas), one(!byHand), byHand)
	}
	for _, d := range in[*appsv1.DaemonSet](o, "DaemonSet", namespace) {
		byHand := d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
		add("DaemonSet", d, &d.Spec.Template, int(d.Status.DesiredNumberScheduled), one(!byHand), byHand)
	}
	for _, s := range in[*appsv1.ReplicaSet](o, "ReplicaSet", namespace) {
		if metav1.GetControllerOf(s) == nil {
			add("ReplicaSet", s, &s.Spec.Template, int(*s.Spec.Replicas), 0, true)
		}
	}
	endpoints := o.endpoints(namespace)
	for _, service := range in[*corev1.Service](o, "Service", namespace) {
		of := capacity{uid: service.UID, ready: endpoints[service.Name]}
		for name, template := range templates {
			if len(service.Spec.Selector) > 0 && labels.SelectorFromSet(service.Spec.Selector).Matches(template) {
				of.wanted, of.least = of.wanted+result[name].wanted, of.least+result[name].least
			}
		}
		result["endpoints of Service/"+service.Name] = of
	}
	return result
}

// endpoints counts the ready endpoints of each Service.
func (o *observer) endpoints(namespace string) map[string]int {
	count := map[string]int{}
	for _, slice := range in[*discoveryv1.EndpointSlice](o, "EndpointSlice", namespace) {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
				count[slice.Labels[discoveryv1.LabelServiceName]]++
			}
		}
	}
	return count
}

// fewerOf is how many pods of a Deployment may be missing in a rollout.
func fewerOf(d *appsv1.Deployment) int {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return int(*d.Spec.Replicas)
	}
	fewer, err := intstr.GetScaledValueFromIntOrPercent(d.Spec.Strategy.RollingUpdate.MaxUnavailable, int(*d.Spec.Replicas), false)
	if err != nil {
		return 0
	}
	return fewer
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

// evictable is how many pods of a workload evictions may take away at a time: one,
// where no PodDisruptionBudget allows fewer.
func (o *observer) evictable(namespace string, template labels.Set, wanted int) int {
	fewest := 1
	for _, budget := range in[*policyv1.PodDisruptionBudget](o, "PodDisruptionBudget", namespace) {
		selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
		if err != nil || !selector.Matches(template) {
			continue
		}
		allowed := 1
		if budget.Spec.MaxUnavailable != nil {
			allowed, _ = intstr.GetScaledValueFromIntOrPercent(budget.Spec.MaxUnavailable, wanted, true)
		} else if budget.Spec.MinAvailable != nil {
			least, _ := intstr.GetScaledValueFromIntOrPercent(budget.Spec.MinAvailable, wanted, true)
			allowed = max(0, wanted-least)
		}
		fewest = min(fewest, allowed)
	}
	return fewest
}

// in are the objects of a kind in a namespace.
func in[T any](o *observer, kind, namespace string) []T {
	objects, err := o.stores[kind].ByIndex(cache.NamespaceIndex, namespace)
	if err != nil {
		return nil
	}
	result := make([]T, 0, len(objects))
	for _, object := range objects {
		result = append(result, object.(T))
	}
	return result
}

// isEvicted says whether a pod goes since somebody has asked for its eviction.
func isEvicted(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(condition corev1.PodCondition) bool {
		return condition.Type == corev1.DisruptionTarget && condition.Reason == "EvictionByEvictionAPI"
	})
}

// workloadOf names the workload of a pod by kind and name.
func workloadOf(pod *corev1.Pod) string {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return "Pod/" + pod.Name
	}
	for label, kind := range map[string]string{podTemplateHash: "Rollout", appsv1.DefaultDeploymentUniqueLabelKey: "Deployment"} {
		if hash := pod.Labels[label]; hash != "" && owner.Kind == "ReplicaSet" {
			return kind + "/" + strings.TrimSuffix(owner.Name, "-"+hash)
		}
	}
	return owner.Kind + "/" + owner.Name
}
