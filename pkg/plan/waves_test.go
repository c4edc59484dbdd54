package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/internal/randommesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

// waveSeeds is how many meshes TestWavesCoverEveryCombination draws.
const waveSeeds = 25

// TestWavesCoverEveryCombination moves the members of each wave of random meshes in
// every combination of not moved, half moved and moved, and wants each difference that
// there is then to be one that the plan has told.
func TestWavesCoverEveryCombination(t *testing.T) {
	t.Parallel()
	combinations := 0
	for seed := range uint64(waveSeeds) {
		drawn := randommesh.New(seed)
		snapshot := fixture.Snapshot(realized(t, drawn))
		planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, drawn.Namespace), plan.Options{Translation: drawn.Options, MaxParallelRestarts: 3})
		if err != nil {
			t.Fatal(err)
		}
		told := differences(t, snapshot, planned, nil)
		for first, end := range plan.Waves(planned.Steps) {
			if end-first < 2 {
				continue
			}
			for _, steps := range halfway(planned.Steps, first, end) {
				combinations++
				found := planned
				found.Steps = steps
				for _, difference := range differences(t, snapshot, found, before(steps)) {
					if strings.Contains(difference.Principal, "/sa/"+translate.DefaultWaypoint) {
						// While nothing names a waypoint yet, the shorter comparison takes
						// its identity for that of a caller.
						continue
					}
					if !slices.Contains(told, difference) && !slices.Contains(told, wider(difference)) {
						t.Errorf("seed %d: nobody has told of %+v", seed, difference)
					}
				}
			}
		}
	}
	if combinations < 10*waveSeeds {
		t.Errorf("only %d combinations were tried", combinations)
	}
}

// halfway are the steps up to a wave, with its members in every combination: those
// that are through come first, each by itself, and those that are half done last.
func halfway(steps []v1alpha1.Step, first, end int) [][]v1alpha1.Step {
	all := [][2][]v1alpha1.Step{{}}
	for _, step := range steps[first:end] {
		var next [][2][]v1alpha1.Step
		for _, one := range all {
			through := step
			through.Wave = 0
			next = append(next, one,
				[2][]v1alpha1.Step{append(slices.Clone(one[0]), through), one[1]}, [2][]v1alpha1.Step{one[0], append(slices.Clone(one[1]), step)})
		}
		all = next
	}
	var combined [][]v1alpha1.Step
	for _, one := range all {
		combined = append(combined, slices.Concat(steps[:first], one[0], one[1]))
	}
	return combined
}

// before cuts off the stage after the steps of a wave, where any ends with one.
func before(steps []v1alpha1.Step) func([]compare.Stage) []compare.Stage {
	return func(stages []compare.Stage) []compare.Stage {
		last := len(stages) - 1
		if len(steps) > 0 && steps[len(steps)-1].Wave > 0 {
			last--
		}
		return []compare.Stage{stages[0], stages[last]}
	}
}

// difference is what calls that are decided differently have in common.
type difference struct {
	Effect            v1alpha1.CallEffect
	Server            v1alpha1.ObjectReference
	Service           v1alpha1.ObjectReference
	Port              uint32
	Principal, Caller string
}

// wider is a difference by which one is covered, too: whether a policy admits the
// caller who can prove who it is now, is told of the widest of several outcomes.
func wider(of difference) difference {
	if of.Effect == v1alpha1.CallNewlyProven {
		of.Effect = v1alpha1.CallNewlyAllowed
	}
	return of
}

func differences(t *testing.T, snapshot *mesh.Snapshot, planned v1alpha1.MigrationPlan, cut func([]compare.Stage) []compare.Stage) []difference {
	t.Helper()
	stages, err := plan.Stages(snapshot, planned)
	if err != nil {
		t.Fatal(err)
	}
	if cut != nil {
		stages = cut(stages)
	}
	var found []difference
	for _, change := range compare.New(stages, compare.Options{}).Changes() {
		one := difference{Effect: change.Effect, Server: change.Server, Port: change.Port, Principal: change.Caller.Principal, Caller: change.Caller.Mode}
		if change.Service != nil {
			one.Service = *change.Service
		}
		if change.AnyOther {
			// It stands for ports that nobody names, which others do.
			one.Port = 0
		}
		found = append(found, one)
	}
	return found
}
