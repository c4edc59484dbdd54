package plan

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Outdated is what was accepted of calls for a plan, and does not hold for them any
// more, since a policy that decides them has come, gone or changed since: other calls
// may be concerned than those that it was accepted for. It names the first such policy.
func Outdated(snapshot *mesh.Snapshot, namespace mesh.Namespace, planned v1alpha1.MigrationPlan) (accepted []string, because v1alpha1.ObjectReference, err error) {
	for _, one := range planned.Accepted {
		if id, _, _ := strings.Cut(one, ":"); id == checks.IDCallsNewlyAllowed || id == checks.IDCallsCompared {
			accepted = append(accepted, one)
		}
	}
	if len(accepted) == 0 || planned.Handover == nil {
		return nil, because, nil
	}
	because, found, err := changedPolicy(snapshot, namespace, planned)
	if err != nil || !found {
		return nil, because, err
	}
	return accepted, because, nil
}

// AcceptedThen says which findings were there when runs were planned, and were accepted
// for them. What --accept names is a whole check, or all of it about one object: what has
// come since nobody had seen, and it is not accepted by that.
func AcceptedThen(records []v1alpha1.MigrationRecord) func(v1alpha1.CheckResult) bool {
	return func(now v1alpha1.CheckResult) bool {
		return slices.ContainsFunc(records, func(record v1alpha1.MigrationRecord) bool {
			return slices.ContainsFunc(record.Plan.Gates, func(then v1alpha1.CheckResult) bool {
				return found(then) && (sameFinding(then, now) || neverCompared(then, now)) && Options{Accept: record.Plan.Accepted}.accepts(then)
			})
		})
	}
}

// found says whether a result is something that can be accepted. A warning is: of the same
// finding a check may say more once the namespace is ambient.
func found(result v1alpha1.CheckResult) bool {
	return result.Status != v1alpha1.StatusPass && result.Status != v1alpha1.StatusSkip
}

// sameFinding compares what two results are about. Messages count pods and name examples,
// which come and go. That something could not be seen says nothing of what is found there,
// nor of what else cannot be seen.
func sameFinding(then, now v1alpha1.CheckResult) bool {
	about := func(result v1alpha1.CheckResult) v1alpha1.ObjectReference {
		if result.Object == nil {
			return v1alpha1.ObjectReference{}
		}
		return result.Object.Unversioned()
	}
	if then.ID != now.ID || then.Field != now.Field || about(then) != about(now) ||
		(then.Status == v1alpha1.StatusUnknown) != (now.Status == v1alpha1.StatusUnknown) {
		return false
	}
	return !slices.ContainsFunc(now.Unseen, func(unseen v1alpha1.KindCoverage) bool {
		return !slices.ContainsFunc(then.Unseen, func(known v1alpha1.KindCoverage) bool { return known.Key == unseen.Key })
	})
}

// neverCompared says whether verify does not compare all calls where a plan had not compared
// all, either. Which these are its message says in words that count kinds of calls, and the
// copies that a run makes are more of them.
func neverCompared(then, now v1alpha1.CheckResult) bool {
	incomplete := func(result v1alpha1.CheckResult, id string) bool {
		return result.ID == id && result.Status == v1alpha1.StatusUnknown && len(result.Unseen) == 0
	}
	return incomplete(then, checks.IDCallsCompared) && incomplete(now, checks.IDCallsKept)
}

// changedPolicy is the first policy of others that decides calls here and is not what a
// plan was made with, but for those that the plan itself deletes.
func changedPolicy(snapshot *mesh.Snapshot, namespace mesh.Namespace, planned v1alpha1.MigrationPlan) (v1alpha1.ObjectReference, bool, error) {
	relied := *planned.Handover
	same, err := stillSaying(snapshot, relied)
	if err != nil {
		return v1alpha1.ObjectReference{}, false, err
	}
	for _, known := range relied.Policies {
		if _, found := snapshot.Object(known.Object); !found && !deletes(planned, known.Object) {
			return known.Object, true, nil
		}
	}
	for _, policy := range checks.PoliciesIn(snapshot, relied.Lists) {
		object, found := snapshot.Object(policy)
		is := func(other v1alpha1.ObjectReference) bool { return other.Unversioned() == policy.Unversioned() }
		if !found || Ours(object) || slices.ContainsFunc(same, is) {
			continue
		}
		if checks.Reaches(checks.Subject{Snapshot: snapshot, Namespace: namespace}, relied, object) {
			return policy, true, nil
		}
	}
	return v1alpha1.ObjectReference{}, false, nil
}

func deletes(planned v1alpha1.MigrationPlan, object v1alpha1.ObjectReference) bool {
	return slices.ContainsFunc(planned.Steps, func(step v1alpha1.Step) bool {
		return slices.ContainsFunc(step.Changes, func(change v1alpha1.Change) bool { return change.Delete && change.Object == object })
	})
}
