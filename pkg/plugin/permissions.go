package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// atOnce is how many questions are asked at the same time.
const atOnce = 8

// permitted asks the API server, before the first write, whether the user may
// do everything that the plan needs.
func (o *runOptions) permitted(ctx context.Context, planned v1alpha1.MigrationPlan) error {
	mapper, err := o.flags.ToRESTMapper()
	if err != nil {
		return o.explain(err)
	}
	needs, err := needsOf(planned, o.name, mapper)
	if err != nil {
		return err
	}
	missing, err := o.notAllowed(ctx, needs)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		return nil
	}
	var texts []string
	for _, need := range missing {
		texts = append(texts, describeNeed(need))
	}
	role, err := yaml.Marshal(clusterRole("kubectl-ambient-"+o.name, missing))
	if err != nil {
		return fmt.Errorf("write the role that is missing: %w", err)
	}
	return blockedError("you may not %s: ask for a role that allows it, such as\n\n%s", strings.Join(texts, ", "), role)
}

// notAllowed asks the API server which of some needs the user may not do.
func (s *session) notAllowed(ctx context.Context, needs []authorizationv1.ResourceAttributes) ([]authorizationv1.ResourceAttributes, error) {
	allowed := make([]bool, len(needs))
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, need := range needs {
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
	var missing []authorizationv1.ResourceAttributes
	for i, need := range needs {
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

// needsOf lists what a run in a namespace does beyond reading the mesh: write what
// the plan changes, watch what its gates wait for, keep the record, ask ztunnel.
func needsOf(planned v1alpha1.MigrationPlan, namespace string, mapper meta.RESTMapper) ([]authorizationv1.ResourceAttributes, error) {
	var needs []authorizationv1.ResourceAttributes
	add := func(in, group, resource, subresource string, verbs ...string) {
		for _, verb := range verbs {
			need := authorizationv1.ResourceAttributes{Namespace: in, Group: group, Resource: resource, Subresource: subresource, Verb: verb}
			if !slices.Contains(needs, need) {
				needs = append(needs, need)
			}
		}
	}
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			kind := schema.FromAPIVersionAndKind(change.Object.APIVersion, change.Object.Kind)
			mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", change.Object, err)
			}
			verbs := []string{"get", "patch"}
			switch {
			case change.Create != nil:
				// Whoever makes something must be able to take it back.
				verbs = []string{"get", "create", "delete"}
			case change.Delete && planned.Operation != v1alpha1.OperationRollback:
				// A rollback makes it again.
				verbs = []string{"get", "delete", "create"}
			case change.Delete:
				verbs = []string{"get", "delete"}
			}
			in := change.Object.Namespace
			if change.Object.Kind == mesh.KindNamespace {
				// A namespace is in itself, as far as permissions go (Kubernetes
				// staging/src/k8s.io/apiserver/pkg/endpoints/request/requestinfo.go).
				in = change.Object.Name
			}
			add(in, mapping.Resource.Group, mapping.Resource.Resource, "", verbs...)
		}
	}
	watches, err := actions.WatchesOf(planned, namespace, mapper)
	if err != nil {
		return nil, err
	}
	for _, watch := range watches {
		add(watch.Namespace, watch.Resource.Group, watch.Resource.Resource, "", "list", "watch")
	}
	for _, step := range planned.Steps {
		if step.Gate.Replaces {
			add(namespace, "", "pods", "eviction", "create")
		}
		if step.Gate.Cordon {
			add("", "", "nodes", "", "get", "patch")
		}
	}
	add(namespace, "", "configmaps", "", "create", "get", "update", "delete", "list")
	for _, locked := range plan.Namespaces(planned) {
		add(locked, "coordination.k8s.io", "leases", "", "create", "get", "update", "delete")
	}
	if planned.Operation == v1alpha1.OperationRollback {
		add(namespace, "", "pods", "", "delete")
		add(namespace, "", "pods", "eviction", "create")
		return needs, nil
	}
	add("", "", "pods", "", "list")
	add("", "", "pods", "portforward", "create")
	return needs, nil
}
