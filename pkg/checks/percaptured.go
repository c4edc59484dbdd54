package checks

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// perCaptured applies a judgement to the pods for which ztunnel-captured holds. What else
// ztunnel says of a pod means nothing while it does not proxy it; that check names the
// pod, or the node, and here it is only said that it was left out.
func perCaptured(subject Subject, judge func(mesh.Pod, mesh.NodeEvidence) *Finding) []Finding {
	var findings []Finding
	var without []string
	pods := expected(subject)
	if len(pods) == 0 {
		return noneCaptured()
	}
	for _, pod := range pods {
		node, problem := evidenceOf(subject.Evidence, pod)
		if problem != "" || capturedFinding(pod, node) != nil {
			without = append(without, pod.String())
			continue
		}
		if finding := judge(pod, node); finding != nil {
			findings = append(findings, *finding)
		}
	}
	return append(findings, leftOut(without, len(pods))...)
}

// noneCaptured says that there is no pod of which a ztunnel could be asked.
func noneCaptured() []Finding {
	return []Finding{{Status: v1alpha1.StatusSkip, Message: "none of its pods is to be captured on a node"}}
}

// leftOut says that a check has left something out, of all there is, since
// ztunnel-captured does not hold for it: so it did not pass, whatever it has found at
// the others.
func leftOut(without []string, all int) []Finding {
	return leftOutFor(IDZtunnelCaptured, without, all)
}

// leftOutFor says it of what is left out since another check does not hold for it.
func leftOutFor(id string, without []string, all int) []Finding {
	switch len(without) {
	case 0:
		return nil
	case all:
		return []Finding{meaningless(id)}
	default:
		finding := meaningless(id)
		finding.Message = fmt.Sprintf("it means nothing for %s while %s does not hold there", some(without), id)
		return []Finding{finding}
	}
}
