package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// atOnce is how many questions are asked at the same time.
const atOnce = 8

// permitted asks the API server, before the first write, whether the user may do
// everything that the plan needs, and what its rollback would need. Without the former
// nothing is done; so it is without the latter where a failure is to be rolled back at
// once, and is said otherwise: whoever goes ahead should know that somebody else would
// have to undo it.
func (o *runOptions) permitted(ctx context.Context, run *prepared) error {
	mapper, err := o.flags.ToRESTMapper()
	if err != nil {
		return o.explain(err)
	}
	return o.allowed(ctx, run, mapper)
}

// allowed is permitted with the names that the API server has for kinds.
func (o *runOptions) allowed(ctx context.Context, run *prepared, mapper meta.RESTMapper) error {
	needed, err := needsOf(run.plan, o.name, ztunnelNamespaces(run.snapshot), mapper)
	if err != nil {
		return err
	}
	undoing, err := o.wayBack(ctx, run, mapper)
	if err != nil {
		return err
	}
	if o.hooks.undo != nil {
		needed, undoing = needed.and(undoing), nil
	}
	missing, err := o.notAllowed(ctx, needed.and(undoing))
	if err != nil {
		return err
	}
	lacking, later := slices.Clone(missing), slices.Clone(missing)
	lacking = slices.DeleteFunc(lacking, func(need authorizationv1.ResourceAttributes) bool { return !slices.Contains(needed, need) })
	later = slices.DeleteFunc(later, func(need authorizationv1.ResourceAttributes) bool { return slices.Contains(needed, need) })
	if len(lacking) > 0 {
		text, err := o.whatIsMissing(lacking)
		if err != nil {
			return err
		}
		return blockedError("you may not %s", text)
	}
	if len(later) > 0 {
		text, err := o.whatIsMissing(later)
		if err != nil {
			return err
		}
		fmt.Fprintf(o.Streams.ErrOut, "You could not roll this back yourself, since you may not %s\n", text)
	}
	return nil
}

// wayBack is what a rollback of a run would need, with the runs that it goes on with.
func (o *runOptions) wayBack(ctx context.Context, run *prepared, mapper meta.RESTMapper) (needs, error) {
	if run.plan.Operation == v1alpha1.OperationRollback {
		return nil, nil
	}
	plans := []v1alpha1.MigrationPlan{run.plan}
	if o.hooks.resumes != nil {
		records, err := o.store.List(ctx)
		if err != nil {
			return nil, o.explain(err)
		}
		for _, resumed := range record.Chain(records, *o.hooks.resumes) {
			plans = append(plans, resumed.Plan)
		}
	}
	return needsBack(plans, o.name, o.hooks.undo != nil, mapper)
}

// whatIsMissing names what somebody may not do, and writes the roles that allow it.
func (o *runOptions) whatIsMissing(missing needs) (string, error) {
	var texts []string
	for _, need := range missing {
		texts = append(texts, describeNeed(need))
	}
	roles, err := missingRoles(o.name, missing)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: ask for %s", strings.Join(texts, ", "), roles), nil
}

// notAllowed asks the API server what of some needs the user may not do.
func (s *session) notAllowed(ctx context.Context, asked needs) (needs, error) {
	allowed := make([]bool, len(asked))
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, need := range asked {
		group.Go(func() error {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &need}}
			answer, err := s.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(asking, review, metav1.CreateOptions{})
			if err == nil {
				allowed[i] = answer.Status.Allowed
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("ask for permissions: %w", s.explain(err))
	}
	var missing needs
	for i, need := range asked {
		if !allowed[i] {
			missing = append(missing, need)
		}
	}
	return missing, nil
}

func describeNeed(need authorizationv1.ResourceAttributes) string {
	resource := need.Resource
	if need.Subresource != "" {
		resource += "/" + need.Subresource
	}
	where := ""
	if need.Namespace != "" {
		where = " in namespace " + need.Namespace
	}
	return fmt.Sprintf("%s %s%s", need.Verb, resource, where)
}
