package actions

import (
	"context"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// endingSlack is how much longer than its grace period a pod is given to be gone: the
// kubelet kills it then, and says so. One on a node that is gone never ends.
const endingSlack = 10 * time.Second

// stillEnding says of pods on their way out that they are not gone yet. A pod serves, and
// calls, until its containers have ended: it counts in no rollout any more, and needs what
// protects it none the less. Each is waited for as long as its grace period, but no longer
// than three quarters of the time that the gate had left when it was seen first: other
// things need the rest. Then a note says what that risks. The times are those of this
// machine alone.
func (r *Runner) stillEnding(ctx context.Context, pods []mesh.Pod, means, risks string) verdict {
	var result verdict
	deadline, bounded := ctx.Deadline()
	for _, pod := range pods {
		since, seen := r.ending[pod.UID]
		if !seen {
			since = r.Now()
			r.ending[pod.UID] = since
		}
		waited := r.Now().Sub(since)
		late := bounded && time.Until(deadline) < waited/3
		switch {
		case !late && waited < pod.Grace+endingSlack:
			result.missing = append(result.missing, pod.String()+" still ends, and "+means+" until it has")
			result.retry = retryEvidence
		case !r.named[pod.UID]:
			r.named[pod.UID] = true
			r.Events.note("%s has not ended after %s and is not waited for: %s until it has", pod, waited.Round(time.Second), risks)
		}
	}
	return result
}
