package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// The times of a run.
const (
	// removal bounds how long a run that is over, or was interrupted, removes its pods.
	removal = 20 * time.Second
	// slack is how much older than it may become something is that nobody waits for.
	slack = 2 * time.Minute
	// late is how long something may come to be after the run that asked for it was
	// interrupted: a webhook that it waits for has ten seconds unless it says otherwise
	// (kubernetes pkg/apis/admissionregistration/v1/defaults.go).
	late = 12 * time.Second
)

// fieldManager is the name under which probes are written.
const fieldManager = "kubectl-ambient"

// Runner runs probe pods.
type Runner struct {
	Kube kubernetes.Interface
	// Image is by digest.
	Image string
	// ID is the run's, in the names and labels of all that it makes.
	ID string
	// Timeout bounds the life of a pod, and how long all of them are waited for.
	Timeout time.Duration

	// clock is what the API server's clock showed last: it is the one by which it says how
	// old everything is.
	clock time.Time
}

// Try has pods try the calls of a draft in a namespace, and removes them whatever
// happens. Left are the pods that it could not remove.
func (r *Runner) Try(ctx context.Context, namespace string, draft Draft) (tried []Tried, left []error, err error) {
	return r.run(ctx, namespace, podsOf(draft, r.ID))
}

func (r *Runner) run(ctx context.Context, namespace string, pods []pod) (tried []Tried, left []error, err error) {
	if len(pods) == 0 {
		return nil, nil, nil
	}
	// Also those are removed of which nobody knows whether they came to be.
	var claims []claim
	defer func() { left = r.remove(ctx, namespace, claims) }()
	var made []pod
	for _, of := range pods {
		object, err := r.create(ctx, namespace, of)
		if !refused(err) {
			claims = append(claims, claim{of.name, object.GetUID()})
		}
		switch {
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case err != nil:
			refused := of.tried()
			refused.Failure, refused.Remedy = "it cannot be made: "+printableLine(err.Error()), "see what admission, quotas or permissions refuse; the namespace has to admit pods of the restricted profile"
			tried = append(tried, refused)
		default:
			made = append(made, of)
		}
	}
	over, err := r.wait(ctx, namespace, made)
	return append(tried, over...), nil, err
}

// create makes a pod; what it returns has no UID where that failed.
func (r *Runner) create(ctx context.Context, namespace string, of pod) (*corev1.Pod, error) {
	object, err := r.object(namespace, of)
	if err != nil {
		return &corev1.Pod{}, err
	}
	made, err := r.Kube.CoreV1().Pods(namespace).Create(ctx, object, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil {
		return &corev1.Pod{}, err
	}
	r.clock = made.CreationTimestamp.Time
	return made, nil
}

// wait waits until all pods are over, or their time is.
func (r *Runner) wait(ctx context.Context, namespace string, pods []pod) ([]Tried, error) {
	if len(pods) == 0 {
		return nil, nil
	}
	over, last, redirected := map[string]Tried{}, map[string]*corev1.Pod{}, map[string]bool{}
	waiting, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	_, err := watchtools.UntilWithSync(waiting, r.watched(namespace), &corev1.Pod{}, nil, func(event watch.Event) (bool, error) {
		object, is := event.Object.(*corev1.Pod)
		at := slices.IndexFunc(pods, func(of pod) bool { return is && of.name == object.Name })
		if at < 0 {
			return false, nil
		}
		last[object.Name] = object
		// istio-cni takes its word back when a pod has ended (istio
		// cni/pkg/nodeagent/informers.go): what it said before counts.
		redirected[object.Name] = redirected[object.Name] || mesh.PodFromObject(object).Redirected()
		if _, known := over[object.Name]; known {
			return false, nil
		}
		tried, done := ended(pods[at], object)
		tried.Node = object.Spec.NodeName
		if !done && event.Type == watch.Deleted {
			tried.Failure, tried.Remedy, done = "somebody has deleted it", "probe again", true
		}
		if done {
			tried.believe(pods[at].caller, mesh.PodFromObject(object), redirected[object.Name])
			over[object.Name] = tried
		}
		return len(over) == len(pods), nil
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil && waiting.Err() == nil && !wait.Interrupted(err) {
		return nil, fmt.Errorf("watch pods in namespace %s: %w", namespace, err)
	}
	var all []Tried
	for _, of := range pods {
		tried, done := over[of.name]
		if !done {
			tried = pending(of, last[of.name])
		}
		all = append(all, tried)
	}
	return all, nil
}

// watched are the pods of this run.
func (r *Runner) watched(namespace string) cache.ListerWatcher {
	pods, mine := r.Kube.CoreV1().Pods(namespace), Label+"="+r.ID
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.LabelSelector = mine
			return pods.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = mine
			return pods.Watch(ctx, options)
		},
	}, r.Kube)
}

// claim is an object whose making was asked for.
type claim struct {
	name string
	// uid is empty where nobody knows whether it came to be.
	uid types.UID
}

// refused says whether the API server has said that it does not make something. After
// any other error it may have made it, or do so yet.
func refused(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code >= http.StatusBadRequest && status.Status().Code < http.StatusInternalServerError
}

// remove removes pods, also where the run was interrupted, and says what is left.
func (r *Runner) remove(ctx context.Context, namespace string, claims []claim) []error {
	removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), removal)
	defer cancel()
	left := make([]error, len(claims))
	var group sync.WaitGroup
	for i, of := range claims {
		group.Go(func() {
			options := metav1.DeleteOptions{}
			if of.uid != "" {
				options.Preconditions = &metav1.Preconditions{UID: &of.uid}
			}
			if err := persist(removing, of.uid != "", func(ctx context.Context) error {
				return r.Kube.CoreV1().Pods(namespace).Delete(ctx, of.name, options)
			}); err != nil {
				left[i] = fmt.Errorf("pod %s/%s could not be removed: %w", namespace, of.name, err)
			}
		})
	}
	group.Wait()
	return slices.DeleteFunc(left, func(err error) bool { return err == nil })
}

// persist deletes something, and again where that fails for a reason that may pass. What
// is not confirmed to have been made may yet come to be: it is asked for until that is
// over.
func persist(ctx context.Context, confirmed bool, remove func(context.Context) error) error {
	again := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Steps: 6}
	if !confirmed {
		again = wait.Backoff{Duration: lookAgain, Factor: 1, Steps: int(late / lookAgain)}
	}
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, again, func(ctx context.Context) (bool, error) {
		last = remove(ctx)
		switch {
		case last == nil:
			return true, nil
		case apierrors.IsNotFound(last):
			last = nil
			return confirmed, nil
		case apierrors.IsConflict(last):
			// Another has its name: this one is gone.
			last = nil
			return true, nil
		case apierrors.IsForbidden(last):
			return true, nil
		default:
			return false, nil
		}
	})
	if last != nil || !confirmed && wait.Interrupted(err) {
		return last
	}
	return err
}

// Sweep removes what runs have left in a namespace that were killed: probe pods for
// which nobody waits any more. It goes by the API server's clock, and sweeps nothing where
// that is not known.
func (r *Runner) Sweep(ctx context.Context, namespace string) (swept []string, err error) {
	if r.askTime(ctx); r.clock.IsZero() {
		return nil, nil
	}
	pods, err := r.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: Label})
	if err != nil {
		return nil, fmt.Errorf("list pods that probes have left in namespace %s: %w", namespace, err)
	}
	var failed []error
	for i := range pods.Items {
		object := &pods.Items[i]
		if !r.abandoned(object) {
			continue
		}
		err := r.Kube.CoreV1().Pods(namespace).Delete(ctx, object.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: new(object.UID)}})
		if err != nil && !apierrors.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("pod %s/%s, which a probe has left: %w", namespace, object.Name, err))
			continue
		}
		swept = append(swept, object.Name)
	}
	return swept, errors.Join(failed...)
}

// askTime has the API server tell the time, unless it has. What is left of a run may be
// what keeps this one from making anything that would tell, by a quota. A review of who
// asks is dated (kubernetes pkg/registry/authentication/selfsubjectreview/rest.go), stored
// nowhere and permitted to everybody. Where it is refused, the pods of this run tell.
func (r *Runner) askTime(ctx context.Context) {
	if !r.clock.IsZero() {
		return
	}
	review, err := r.Kube.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err == nil {
		r.clock = review.CreationTimestamp.Time
	}
}

// abandoned says whether a pod is one that a probe has made and no run waits for: it is
// older than it may become, by its own word and the API server's clock.
func (r *Runner) abandoned(object *corev1.Pod) bool {
	id, may := object.Labels[Label], object.Spec.ActiveDeadlineSeconds
	ours := id != "" && strings.HasPrefix(object.Name, appName+"-"+id+"-") && object.Labels[managedLabel] == fieldManager && metav1.GetControllerOf(object) == nil
	if !ours || may == nil || id == r.ID || object.DeletionTimestamp != nil {
		return false
	}
	return r.clock.Sub(object.CreationTimestamp.Time) > time.Duration(*may)*time.Second+slack
}
