package plugin

import (
	"context"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

type verifyOptions struct {
	namespaced
}

func newVerifyCommand(session *session) *cobra.Command {
	options := &verifyOptions{namespaced{session: session}}
	command := &cobra.Command{
		Use:   "verify",
		Short: "Ask the data plane whether a namespace really is in ambient mode",
		Long: `Ask the data plane whether a namespace really is in ambient mode: no pod has a
sidecar, every pod is redirected, and the ztunnel of its node says that it
proxies the pod; and whether what enroll handed over still holds: waypoints that are
named are there and ready, what was made for them is as it was made and accepted.
Nothing is changed. The exit status is 3 where a check fails or could not be made.`,
		Example: "  kubectl ambient verify -n shop\n  kubectl ambient verify -n shop -o json",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.complete(); err != nil {
				return err
			}
			return options.run(command.Context())
		},
	}
	options.output.addFlag(command)
	return command
}

func (o *verifyOptions) run(ctx context.Context) error {
	_, snapshot, err := o.read(ctx, o.name)
	if err != nil {
		return err
	}
	namespace, err := o.find(snapshot, o.name)
	if err != nil {
		return err
	}
	evidence, err := o.collect(ctx, snapshot)
	if err != nil {
		return err
	}
	handed, err := o.handed(ctx, snapshot)
	if err != nil {
		return err
	}
	report := v1alpha1.VerifyReport{
		TypeMeta: v1alpha1.Document(v1alpha1.KindVerifyReport), Namespace: o.name,
		Results: checks.Run(checks.VerifyChecks(), checks.Subject{Snapshot: snapshot, Namespace: namespace, Evidence: evidence, Handed: handed}),
	}
	report.Summary = v1alpha1.Summarize(report.Results)
	report.Verified = !slices.ContainsFunc(report.Results, v1alpha1.CheckResult.Blocks)
	if o.output.human() {
		render.Verification(o.Streams.Out, report)
	} else if err := render.Document(o.Streams.Out, o.output.format, report); err != nil {
		return err
	}
	if !report.Verified {
		return blockedError("namespace %s: %s", o.name, firstBlocking(report.Results))
	}
	return nil
}

// handed reads what became of what enrolments have handed over. Not being allowed to
// list their records leaves that out: the check that needs it is then unknown.
func (o *verifyOptions) handed(ctx context.Context, snapshot *mesh.Snapshot) (*checks.Handed, error) {
	records, err := record.NewStore(o.kube.CoreV1(), o.name).List(ctx)
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, o.explain(err)
	}
	handed, err := plan.Handed(snapshot, record.Open(records))
	if handed != nil {
		handed.TakenOff = record.TakenOff(records)
	}
	return handed, err
}

// collect asks the ztunnels of the nodes that the namespace's pods run on.
// Not being allowed to list them leaves the evidence out: the checks that need
// it are then unknown.
func (o *verifyOptions) collect(ctx context.Context, snapshot *mesh.Snapshot) (*mesh.Evidence, error) {
	if !snapshot.Coverage(mesh.ZtunnelPods, o.name).Known() {
		return nil, nil
	}
	return o.evidence(ctx, actions.NodesOf(snapshot.Pods(o.name)))
}
