package plugin

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/usage"
)

// baseline is the namespace as it is before an enrolment. Where another one is open, it is
// what that one has: each record says what was before the oldest, whichever is rolled
// back first. What others have broken since is new to this run all the same, unless it
// goes on with one that had begun: that might have been what broke it. What no step of
// the plan mends, the plan has announced. What ztunnel or the metrics API do not tell is
// noted in it: nothing of the run depends on that.
func (o *runOptions) baseline(ctx context.Context, prepared *prepared) (*v1alpha1.Baseline, error) {
	if prepared.plan.Operation != v1alpha1.OperationEnroll {
		return nil, nil
	}
	records, err := o.store.List(ctx)
	if err != nil {
		return nil, o.explain(err)
	}
	namespace, err := o.find(prepared.snapshot, o.name)
	if err != nil {
		return nil, err
	}
	unmended, err := plan.Unmended(prepared.snapshot, prepared.plan)
	if err != nil {
		return nil, err
	}
	if open := record.Open(records); len(open) > 0 {
		for _, run := range open {
			if run.Baseline == nil {
				continue
			}
			baseline := *run.Baseline
			if !unverified(o.hooks.stopped) {
				baseline.Standing = checks.Standing(prepared.snapshot, namespace)
			}
			baseline.Standing = slices.Concat(baseline.Standing, unmended)
			return &baseline, nil
		}
		return nil, nil
	}
	taken, err := plan.Baseline(prepared.content, prepared.snapshot, namespace, o.Now().UTC())
	if err != nil {
		return nil, err
	}
	taken.Standing = slices.Concat(taken.Standing, unmended)
	taken.Mesh.ToolVersion = o.Version
	o.countTraffic(ctx, taken)
	measured, err := usage.Read(ctx, o.dyn, o.name)
	if err != nil {
		return nil, err
	}
	taken.Resources = usage.Sidecars(prepared.snapshot, o.name, measured)
	return taken, ctx.Err()
}

// countingTime bounds how long the ztunnels of a mesh are asked before a run: nothing of
// the run depends on what they say.
const countingTime = 30 * time.Second

// countTraffic notes what ztunnels have counted of the namespace.
func (o *runOptions) countTraffic(ctx context.Context, taken *v1alpha1.Baseline) {
	ctx, cancel := context.WithTimeout(ctx, countingTime)
	defer cancel()
	counted, err := o.reader.CountTraffic(ctx)
	if err != nil {
		taken.ZtunnelProblem = err.Error()
		return
	}
	taken.Ztunnels = map[string]v1alpha1.ZtunnelBaseline{}
	for node, of := range counted {
		noted := v1alpha1.ZtunnelBaseline{Instance: of.Instance, Problem: of.Problem}
		for workload, traffic := range of.Traffic {
			namespace, name, _ := strings.Cut(workload, "/")
			if namespace != o.name {
				continue
			}
			if noted.Connections == nil {
				noted.Connections = map[string]v1alpha1.Connections{}
			}
			noted.Connections[name] = v1alpha1.Connections{Inbound: traffic.Inbound, Outbound: traffic.Outbound, Plaintext: traffic.Plaintext}
		}
		taken.Ztunnels[node] = noted
	}
}
