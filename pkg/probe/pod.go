package probe

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe/wire"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Label is on everything that probes make; its value is the ID of the run.
const Label = "ambient.kubectl-ambient.dev/probe"

const (
	appName      = "kubectl-ambient-probe"
	container    = "probe"
	managedLabel = "app.kubernetes.io/managed-by"
)

// Image is the image of the probe program where no other is asked for. None is
// published yet.
const Image = ""

// pod is one that is to be made.
type pod struct {
	name   string
	caller Caller
	calls  []wire.Call
	// serves are the addresses that it answers on instead of calling anybody.
	serves []string
	labels map[string]string
	// life bounds it; the run's timeout where it is 0.
	life time.Duration
}

// podsOf gives each caller its calls, as many to a pod as its report can hold.
func podsOf(draft Draft, id string) []pod {
	var pods []pod
	var callers []string
	calls := map[string][]wire.Call{}
	known := map[string]Caller{}
	for _, attempt := range draft.Attempts {
		name := attempt.Caller.String()
		if _, met := known[name]; !met {
			callers, known[name] = append(callers, name), attempt.Caller
		}
		calls[name] = append(calls[name], attempt.Call)
	}
	for _, name := range callers {
		for part := range slices.Chunk(calls[name], wire.MostCalls) {
			pods = append(pods, pod{name: fmt.Sprintf("%s-%s-%d", appName, id, len(pods)+1), caller: known[name], calls: part})
		}
	}
	return pods
}

// object is the pod as it is made: under the restricted profile of Pod Security, bounded
// in time and resources, without the token of its account.
func (r *Runner) object(namespace string, of pod) (*corev1.Pod, error) {
	probe := corev1.Container{
		Name: container, Image: r.Image, Command: []string{"/" + appName}, Args: append([]string{"serve"}, of.serves...),
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
		},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), RunAsNonRoot: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
	if len(of.serves) == 0 {
		text, err := wire.EncodeCalls(of.calls)
		if err != nil {
			return nil, fmt.Errorf("pod %s: %w", of.name, err)
		}
		probe.Args, probe.Env = []string{"try"}, []corev1.EnvVar{{Name: wire.Variable, Value: text}}
	}
	labels := map[string]string{Label: r.ID, "app.kubernetes.io/name": appName, managedLabel: fieldManager}
	maps.Copy(labels, of.caller.Labels)
	maps.Copy(labels, of.labels)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: of.name, Labels: labels, Annotations: of.caller.Annotations},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{probe}, RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: of.caller.Account,
			AutomountServiceAccountToken: new(false), EnableServiceLinks: new(false), TerminationGracePeriodSeconds: new(int64(1)),
			ActiveDeadlineSeconds: new(int64(cmp.Or(of.life, r.Timeout) / time.Second)),
			// The user is the image's, by its number; OpenShift's restricted-v2 gives
			// another one, and admits no pod that names its own.
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
		},
	}, nil
}

// finalReasons are those for which a container that waits does not start by itself, or
// not within a run (kubernetes pkg/kubelet/images/types.go, and
// pkg/kubelet/kuberuntime/kuberuntime_container.go).
var finalReasons = map[string]bool{
	"ImagePullBackOff": true, "InvalidImageName": true, "ErrImageNeverPull": true, "ImageInspectError": true,
	"CreateContainerConfigError": true, "CreateContainerError": true, "RunContainerError": true,
}

// ended says what became of a pod, if it is over: its container has ended, whatever
// sidecars go on beside it, or will not start.
func ended(of pod, object *corev1.Pod) (Tried, bool) {
	tried := of.tried()
	for _, status := range object.Status.ContainerStatuses {
		if status.Name != container {
			continue
		}
		if terminated := status.State.Terminated; terminated != nil {
			if terminated.Message == "" {
				tried.wordless(object, terminated)
			} else {
				tried.read(of.calls, terminated)
			}
			return tried, true
		}
		if waiting := status.State.Waiting; waiting != nil && finalReasons[waiting.Reason] {
			tried.Failure, tried.Remedy = "it does not start: "+reasonOf(waiting.Reason, waiting.Message), remedyFor(waiting.Reason)
			return tried, true
		}
	}
	if object.Status.Phase == corev1.PodFailed || object.Status.Phase == corev1.PodSucceeded {
		tried.Failure = "it has ended without a report: " + reasonOf(object.Status.Reason, object.Status.Message)
		tried.Remedy = "probe again; --probe-timeout gives it longer"
		return tried, true
	}
	return tried, false
}

// pending says why a pod is not over when its time is.
func pending(of pod, object *corev1.Pod) Tried {
	tried := of.tried()
	tried.Failure, tried.Remedy = "it was not over in time", "--probe-timeout gives it longer"
	if object == nil {
		tried.Failure = "it was never seen"
		return tried
	}
	for _, condition := range object.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			tried.Failure, tried.Remedy = "no node takes it: "+reasonOf(condition.Reason, condition.Message), "make room for a pod of 10m CPU and 32Mi memory"
		}
	}
	for _, status := range slices.Concat(object.Status.InitContainerStatuses, object.Status.ContainerStatuses) {
		if waiting := status.State.Waiting; waiting != nil {
			tried.Failure = fmt.Sprintf("container %s does not start: %s", status.Name, reasonOf(waiting.Reason, waiting.Message))
			tried.Remedy = remedyFor(waiting.Reason)
		}
	}
	return tried
}

func (p pod) tried() Tried {
	tried := Tried{Pod: p.name}
	for _, call := range p.calls {
		tried.Attempts = append(tried.Attempts, call.ID)
	}
	return tried
}

// wordless is about a container that has ended without a report. A status above 128 is
// that of a signal: then it is not the program that has ended, but somebody has ended it,
// who may have said why of the pod (kubernetes pkg/kubelet/active_deadline.go and
// pkg/kubelet/eviction).
func (t *Tried) wordless(object *corev1.Pod, of *corev1.ContainerStateTerminated) {
	t.Failure = fmt.Sprintf("it ended with status %d (%s) without a report", of.ExitCode, cmp.Or(of.Reason, "no reason"))
	t.Remedy = "see that --probe-image is the probe program of this version"
	if of.ExitCode > 128 {
		t.Remedy = "probe again; kubectl describe node shows what has killed it, where it is killed again"
	}
	if object.Status.Reason != "" {
		t.Failure += ": " + reasonOf(object.Status.Reason, object.Status.Message)
		t.Remedy = "probe again; --probe-timeout gives it longer"
	}
}

// read takes the report from where a container has ended. What does not go together is
// no report.
func (t *Tried) read(calls []wire.Call, of *corev1.ContainerStateTerminated) {
	report, err := wire.DecodeReport([]byte(of.Message), calls)
	switch {
	case err != nil:
		t.Failure = fmt.Sprintf("it ended with status %d (%s): %v", of.ExitCode, cmp.Or(of.Reason, "no reason"), err)
		t.Remedy = "see that --probe-image is the probe program of this version"
	case report.Error != "":
		t.Failure, t.Remedy = "it has tried nothing: "+printableLine(report.Error), "see that --probe-image is the probe program of this version"
	case report.Status(calls) != int(of.ExitCode):
		t.Failure = fmt.Sprintf("its exit status %d does not go with its report, which means %d: neither is believed", of.ExitCode, report.Status(calls))
		t.Remedy = "see that --probe-image is the probe program of this version"
	default:
		t.Results = report.Results
	}
}

// believe drops the results of a pod that did not come up in the mode of its caller:
// they are those of another caller, and one without an identity is refused by whatever
// asks for one.
func (t *Tried) believe(caller Caller, object mesh.Pod, redirected bool) {
	sidecar := object.HasSidecar()
	if t.Failure != "" || redirected == (caller.Mode == access.ModeAmbient) && sidecar == (caller.Mode == access.ModeSidecar) {
		return
	}
	found := "it has neither a sidecar nor istio-cni's word that it is redirected"
	remedy := "see that istio-cni runs on node " + object.Node + ", and probe again"
	switch {
	case sidecar && redirected:
		found, remedy = "it has a sidecar, and istio-cni says that it is redirected", "see what injects pods, and probe again"
	case sidecar:
		found, remedy = "it has a sidecar", "see what injects pods whatever their labels, and probe again"
	case redirected:
		found, remedy = "istio-cni says that it is redirected", "see what labels pods when they are made, and probe again"
	case caller.Mode == access.ModeSidecar:
		remedy = "see that the injection webhook of the revision answers, and probe again"
	}
	t.Results, t.Remedy = nil, remedy
	t.Failure = fmt.Sprintf("it was not in the mode of %s: %s", caller, found)
}

func reasonOf(reason, message string) string {
	return printableLine(strings.Trim(cmp.Or(reason, "no reason is given")+": "+message, ": "))
}

func remedyFor(reason string) string {
	if strings.Contains(reason, "Image") {
		return "see that --probe-image names an image that the nodes can pull"
	}
	return "kubectl describe pod shows more while the run waits; --probe-timeout gives it longer"
}
