package mesh

import (
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Restart is how many pods of a workload there may be while a change of its
// template replaces them.
type Restart struct {
	// Surge is how many there may be beyond Replicas.
	Surge int32
	// Unavailable is how many may be missing at a time.
	Unavailable int32
}

// Restart returns what the workload's controller allows itself while it replaces
// the pods, or a run where they are replaced by hand. It means nothing where Renews is
// false.
func (w Workload) Restart() Restart {
	if w.Recreate {
		return Restart{Unavailable: w.Replicas}
	}
	if w.ByHand() {
		return Restart{Unavailable: 1}
	}
	switch w.Reference.Kind {
	case KindDeployment, KindRollout:
		// The defaults of a Rollout are those of a Deployment, and so is its rounding
		// (argo-rollouts utils/defaults, utils/replicaset/canary.go).
		return w.deploymentRestart()
	case KindStatefulSet:
		// A StatefulSet's pods have names: the old one goes before the new one
		// comes. The controller rounds down, to one at least (kubernetes
		// pkg/controller/statefulset/stateful_set_utils.go,
		// getStatefulSetMaxUnavailable).
		return Restart{Unavailable: max(1, scaled(w.MaxUnavailable, intstr.FromInt32(1), w.Replicas, false))}
	case KindDaemonSet:
		// Both are rounded up (kubernetes
		// pkg/controller/daemon/util/daemonset_util.go); the defaults are the API's.
		return Restart{
			Surge:       scaled(w.MaxSurge, intstr.FromInt32(0), w.Replicas, true),
			Unavailable: scaled(w.MaxUnavailable, intstr.FromInt32(1), w.Replicas, true),
		}
	default:
		return Restart{}
	}
}

// deploymentRestart rounds as the controller does (kubernetes
// pkg/controller/deployment/util/deployment_util.go, ResolveFenceposts). The
// defaults are the API's.
func (w Workload) deploymentRestart() Restart {
	quarter := intstr.FromString("25%")
	restart := Restart{
		Surge:       scaled(w.MaxSurge, quarter, w.Replicas, true),
		Unavailable: scaled(w.MaxUnavailable, quarter, w.Replicas, false),
	}
	if restart.Surge == 0 && restart.Unavailable == 0 {
		restart.Unavailable = 1
	}
	return restart
}

// scaled is a number of pods, given as such or as a percentage of total. What
// the API server would not have stored counts as nothing.
func scaled(value *intstr.IntOrString, standard intstr.IntOrString, total int32, up bool) int32 {
	if value == nil {
		value = &standard
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(value, int(total), up)
	if err != nil || n < 0 || n > 1<<30 {
		return 0
	}
	return int32(n)
}
