package mesh

import (
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Rollout is how far a workload's controller has come with its template.
type Rollout struct {
	Complete bool
	// Failed is true where the controller itself has given up, as a Deployment
	// does at its progress deadline.
	Failed bool
	// Message says what is still waited for, in the words of kstatus; empty
	// where the rollout is complete.
	Message string
}

// RolloutOf judges a workload by its status.
//
// A Job rolls nothing out: whether it has succeeded is not about its template.
func RolloutOf(workload Workload) Rollout {
	if workload.Reference.Kind == KindJob {
		return Rollout{Complete: true}
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: workload.Object})
	if err != nil {
		return Rollout{Message: fmt.Sprintf("its status could not be understood: %v", err)}
	}
	if result.Status == status.CurrentStatus {
		return Rollout{Complete: true}
	}
	rollout := Rollout{Failed: result.Status == status.FailedStatus, Message: result.Message}
	if rollout.Message == "" {
		rollout.Message = "its status is " + string(result.Status)
	}
	return rollout
}
