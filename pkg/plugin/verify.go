package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/usage"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"istio.io/api/label"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

type verifyOptions struct {
	namespaced
	all     bool
	watch   bool
	wait    bool
	timeout time.Duration
	probe   probeOptions
	// accept are findings that count as they are: of a check, or of it about one object.
	accept []string
	// logs are the access logs of nodes' ztunnels as they were read last.
	logs map[string]readLog
}

// readLog is what the access log of a ztunnel had of namespaces at a time.
type readLog struct {
	at       time.Time
	instance string
	of       map[string]mesh.AccessLog
}

// logsAgain is how long an access log is not read again: --wait and --watch look often,
// and logs are long.
const logsAgain = time.Minute

func newVerifyCommand(session *session) *cobra.Command {
	options := &verifyOptions{namespaced: namespaced{session: session, output: output{too: []render.Format{render.FormatJUnit}}}}
	command := &cobra.Command{
		Use:   "verify",
		Short: "Ask the data plane whether a namespace really is in ambient mode",
		Long: `Ask the data plane whether a namespace really is in ambient mode: no pod has a
sidecar, every pod is redirected, the ztunnel of its node says that it proxies the
pod, has a certificate for it, and knows of the namespace what istiod means it to
know; and whether what enroll handed over still holds: waypoints that are named are
there and ready, what was made for them is as it was made and accepted.

Of a namespace that was rolled back it is asked instead whether every pod that had a
sidecar has one again, is ready, and is not captured any more, and whether nothing is
left of what enroll had made.

With -A this is asked of every namespace that is labelled ambient, or was enrolled and
is not wholly rolled back.
Nothing is changed but by --probe and --canary, whose pods are removed again. The exit
status is 3 where a check fails or could not be made. What will stay so and is known,
such as an istiod outside the cluster that nobody can be asked through, --accept names:
it is shown as accepted then, not as passed. What was accepted for an enrolment counts
here without being named again, as long as it is what was found then.`,
		Example: "  kubectl ambient verify -n shop\n  kubectl ambient verify -n shop --wait --timeout=5m\n" +
			"  kubectl ambient verify -n shop --accept=ztunnel-in-step\n  kubectl ambient verify -A -o junit > verify.xml",
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.complete(); err != nil {
				return err
			}
			return options.run(command.Context())
		},
	}
	options.output.addFlag(command)
	flags := command.Flags()
	flags.BoolVarP(&options.all, "all-namespaces", "A", false, "Verify every namespace that is labelled ambient, or enrolled and not wholly rolled back")
	flags.BoolVarP(&options.watch, "watch", "w", false, "Verify again whenever something changes")
	flags.BoolVar(&options.wait, "wait", false, "Verify again until every check passes, or --timeout")
	flags.DurationVar(&options.timeout, "timeout", 5*time.Minute, "With --wait: how long to wait; 0 for no bound")
	flags.StringSliceVar(&options.accept, flagAccept, nil,
		"Let this finding not fail the verification: `CHECK-ID` for all findings of a check, CHECK-ID:NAMESPACE/NAME for those about one object")
	options.probe.addFlags(flags)
	return command
}

func (o *verifyOptions) complete() error {
	if o.watch && o.wait {
		return usageError("--watch goes on when the namespace is verified, --wait ends then: use one of them")
	}
	if o.timeout < 0 {
		return usageError("--timeout cannot be negative")
	}
	if err := o.probe.validate(o); err != nil {
		return err
	}
	if err := plan.ValidateAccepted(o.accept, slices.Concat(checks.VerifyChecks(), checks.ReturnChecks(), checks.ProbeChecks())); err != nil {
		return usageError("%v", err)
	}
	if err := o.namespaced.complete(); err != nil {
		return err
	}
	if o.watch && !o.output.human() {
		return usageError("--watch shows a cluster to people: it does not go with -o %s", o.output.text)
	}
	return nil
}

func (o *verifyOptions) run(ctx context.Context) error {
	if o.probe.canary {
		return o.runCanary(ctx)
	}
	if o.watch {
		return o.follow(ctx, func(ctx context.Context, out io.Writer) error {
			reports, err := o.verify(ctx)
			if err != nil {
				return err
			}
			return o.print(out, reports)
		})
	}
	reports, err := o.verified(ctx)
	if err != nil {
		return err
	}
	if o.probe.probe {
		if reports, err = o.probed(ctx, reports, o.probedSubject); err != nil {
			return err
		}
	}
	if err := o.print(o.Streams.Out, reports); err != nil {
		return err
	}
	return verdictOn(reports)
}

// verdictOn is the error that reports mean, if any.
func verdictOn(reports []v1alpha1.VerifyReport) error {
	var failed []v1alpha1.VerifyReport
	for _, report := range reports {
		if !report.Verified {
			failed = append(failed, report)
		}
	}
	switch {
	case len(failed) == 0:
		return nil
	case len(reports) == 1:
		return blockedError("namespace %s: %s", failed[0].Namespace, firstBlocking(failed[0].Results))
	default:
		return blockedError("%d of %d namespaces are not verified: first of all %s: %s",
			len(failed), len(reports), failed[0].Namespace, firstBlocking(failed[0].Results))
	}
}

func (o *verifyOptions) print(out io.Writer, reports []v1alpha1.VerifyReport) error {
	switch {
	case o.output.format == render.FormatJUnit:
		return render.JUnit(out, reports)
	case o.output.human() && o.all:
		return render.Verifications(out, reports)
	case o.output.human():
		render.Verification(out, reports[0])
		return nil
	case o.all:
		return render.Document(out, o.output.format, v1alpha1.VerifyReportList{
			TypeMeta: v1alpha1.Document(v1alpha1.KindVerifyReportList), Items: reports, Verified: verdictOn(reports) == nil,
		})
	default:
		return render.Document(out, o.output.format, reports[0])
	}
}

// verified verifies, with --wait until nothing is left to be said or the time is up.
func (o *verifyOptions) verified(ctx context.Context) ([]v1alpha1.VerifyReport, error) {
	if !o.wait {
		return o.verify(ctx)
	}
	waiting := ctx
	if o.timeout > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	return o.settled(ctx, waiting, o.changes(waiting), o.verify)
}

// settled looks until nothing is left to be said or the time of waiting is up. Once a look
// was finished, an API server that is away does not end it: who waits for a cluster to
// settle waits for that, too. Before, it may be that it is not the cluster that is meant.
func (o *verifyOptions) settled(ctx, waiting context.Context, changed <-chan struct{}, look func(context.Context) ([]v1alpha1.VerifyReport, error)) ([]v1alpha1.VerifyReport, error) {
	var last []v1alpha1.VerifyReport
	told, away := "", false
	for {
		reports, err := look(waiting)
		timeUp := ctx.Err() == nil && (waiting.Err() != nil || wouldBeOutOfTime(err))
		switch {
		case err != nil && timeUp && last != nil:
			// The time is up in the middle of a look: the one before it counts.
			return last, nil
		case err != nil && timeUp:
			return nil, fmt.Errorf("no look was finished within --timeout=%s, which says nothing of the mesh: give it more time: %w", o.timeout, err)
		case err != nil && ctx.Err() == nil && last != nil && actions.Passing(err):
			if !away {
				fmt.Fprintf(o.Streams.ErrOut, "waiting: %v\n", err)
			}
			told, away = "", true
		case err != nil:
			return nil, err
		default:
			verdict := verdictOn(reports)
			if verdict == nil {
				return reports, nil
			}
			if told != verdict.Error() {
				told = verdict.Error()
				fmt.Fprintf(o.Streams.ErrOut, "waiting: %s\n", told)
			}
			last, away = reports, false
		}
		select {
		case <-waiting.Done():
			return last, ctx.Err()
		case <-changed:
		case <-time.After(askAgain):
			// Nothing tells of changes in ztunnel.
		}
	}
}

// askAgain is how long ztunnel is left alone where nothing else changes.
const askAgain = 2 * time.Second

// verify makes the checks of each namespace, in one pass over the mesh.
func (o *verifyOptions) verify(ctx context.Context) ([]v1alpha1.VerifyReport, error) {
	snapshot, namespaces, err := o.toVerify(ctx)
	if err != nil {
		return nil, err
	}
	var evidence *mesh.Evidence
	var measured usage.Measured
	var subjects []checks.Subject
	// None of these needs another: while ztunnels are asked, what the records tell is
	// compared with what is.
	group, asking := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		evidence, err = o.collect(asking, snapshot, namespaces)
		return err
	})
	group.Go(func() (err error) {
		measured, err = o.measure(asking)
		return err
	})
	group.Go(func() (err error) {
		subjects, err = o.subjects(asking, snapshot, namespaces)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i := range subjects {
		subjects[i].Evidence = evidence
	}
	if err := o.readAccessLogs(ctx, evidence, subjects); err != nil {
		return nil, err
	}
	reports := []v1alpha1.VerifyReport{}
	for _, subject := range subjects {
		reports = append(reports, reportOn(subject, measured))
	}
	return reports, nil
}

// now is what verify would find of a single namespace if it were called now.
func (o *verifyOptions) now(ctx context.Context) ([]v1alpha1.CheckResult, error) {
	reports, err := o.verify(ctx)
	if err != nil {
		return nil, err
	}
	return reports[0].Results, nil
}

// subjects are the namespaces with what their records tell.
func (o *verifyOptions) subjects(ctx context.Context, snapshot *mesh.Snapshot, namespaces []mesh.Namespace) ([]checks.Subject, error) {
	var subjects []checks.Subject
	for _, namespace := range namespaces {
		subject := checks.Subject{Snapshot: snapshot, Namespace: namespace}
		if err := o.recorded(ctx, &subject); err != nil {
			if ctx.Err() != nil || outOfTime(err) {
				return nil, err
			}
			// A record that cannot be read leaves unknown what it tells, and no more; nor does
			// it keep other namespaces from being verified.
			subject = checks.Subject{Snapshot: snapshot, Namespace: namespace, NoRecords: err.Error()}
		}
		subject.Accepts = o.accepts(subject.Accepts)
		subjects = append(subjects, subject)
	}
	return subjects, nil
}

// accepts says which findings count as they are: those that were accepted then, and
// those that are named now.
func (o *verifyOptions) accepts(then func(v1alpha1.CheckResult) bool) func(v1alpha1.CheckResult) bool {
	now := plan.Accepts(o.accept)
	return func(result v1alpha1.CheckResult) bool { return now(result) || then != nil && then(result) }
}

// reportOn makes the checks of a namespace.
func reportOn(subject checks.Subject, measured usage.Measured) v1alpha1.VerifyReport {
	report := v1alpha1.VerifyReport{TypeMeta: v1alpha1.Document(v1alpha1.KindVerifyReport), Namespace: subject.Namespace.Name}
	asked := checks.VerifyChecks()
	if subject.Returned != nil {
		asked, report.After = checks.ReturnChecks(), v1alpha1.OperationRollback
	}
	report.Results = checks.Run(asked, subject)
	var baseline *v1alpha1.Baseline
	if subject.Past != nil {
		baseline = &subject.Past.Baseline
	}
	report.Resources = usage.Report(subject.Snapshot, subject.Namespace, subject.Evidence, measured, baseline)
	report.Summary = v1alpha1.Summarize(report.Results)
	report.Verified = !slices.ContainsFunc(report.Results, v1alpha1.CheckResult.Blocks)
	return report
}

// readAccessLogs reads those of the ztunnels whose metrics do not say whether there was
// traffic since namespaces were enrolled, each of them once.
func (o *verifyOptions) readAccessLogs(ctx context.Context, evidence *mesh.Evidence, subjects []checks.Subject) error {
	wanted := map[string]map[string]time.Time{}
	for _, subject := range subjects {
		nodes, since := checks.AccessLogsWanted(subject)
		for _, node := range nodes {
			if wanted[node] == nil {
				wanted[node] = map[string]time.Time{}
			}
			wanted[node][subject.Namespace.Name] = since
		}
	}
	maps.DeleteFunc(wanted, func(name string, since map[string]time.Time) bool {
		node, last := evidence.Nodes[name], o.logs[name]
		for namespace := range since {
			if _, read := last.of[namespace]; !read || last.instance != node.Instance || o.Now().Sub(last.at) > logsAgain {
				return false
			}
		}
		node.AccessLogs = last.of
		evidence.Nodes[name] = node
		return true
	})
	if err := o.reader.AskAccessLogs(ctx, evidence, wanted); err != nil {
		return o.explain(err)
	}
	if o.logs == nil {
		o.logs = map[string]readLog{}
	}
	for name := range wanted {
		node := evidence.Nodes[name]
		o.logs[name] = readLog{at: o.Now(), instance: node.Instance, of: node.AccessLogs}
	}
	return nil
}

// measure asks what pods use: of all namespaces, or of the one at hand.
func (o *verifyOptions) measure(ctx context.Context) (usage.Measured, error) {
	namespace := o.name
	if o.all {
		namespace = metav1.NamespaceAll
	}
	return usage.Read(ctx, o.dyn, namespace)
}

// toVerify reads the mesh, and says which namespaces to verify.
func (o *verifyOptions) toVerify(ctx context.Context) (*mesh.Snapshot, []mesh.Namespace, error) {
	if !o.all {
		_, snapshot, err := o.read(ctx, o.name)
		if err != nil {
			return nil, nil, err
		}
		namespace, err := o.find(snapshot, o.name)
		return snapshot, []mesh.Namespace{namespace}, err
	}
	_, snapshot, err := o.readCluster(ctx, mesh.Scope{All: true})
	if err != nil {
		return nil, nil, err
	}
	if coverage := snapshot.Coverage(mesh.KindNamespace, ""); !coverage.Known() {
		return nil, nil, fmt.Errorf("namespaces cannot be listed: %s: ask for permission, or name one with -n", coverage.Reason)
	}
	recorded, err := record.Enrolled(ctx, o.kube.CoreV1())
	if err != nil {
		return nil, nil, o.explain(err)
	}
	var enrolled []mesh.Namespace
	for _, namespace := range snapshot.Namespaces() {
		if namespace.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneAmbient || recorded[namespace.Name] {
			enrolled = append(enrolled, namespace)
		}
	}
	return snapshot, enrolled, nil
}

// recorded adds what the records of a namespace tell: what a rollback is to have put
// back; or what became of what enrolments have handed over, and which findings were
// accepted. Not being allowed to list them leaves that out: the check that needs it is
// then unknown.
func (o *verifyOptions) recorded(ctx context.Context, subject *checks.Subject) error {
	records, err := record.NewStore(o.kube.CoreV1(), subject.Namespace.Name).List(ctx)
	if apierrors.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return o.explain(err)
	}
	if subject.Returned, err = plan.Returned(subject.Namespace.Name, records); err != nil || subject.Returned != nil {
		return err
	}
	subject.Accepts = plan.AcceptedThen(record.Open(records))
	subject.Handed, err = plan.Handed(subject.Snapshot, record.Open(records))
	if subject.Handed != nil {
		subject.Handed.TakenOff = record.TakenOff(records)
	}
	if err != nil {
		return err
	}
	subject.Past, subject.NoPast, err = plan.Past(subject.Snapshot, subject.Namespace, record.Open(records))
	return err
}

// catchingUp is how long ztunnels are given to hear of what istiod has just learned,
// before they count as out of step with it: three seconds.
func catchingUp() wait.Backoff {
	return wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Steps: 6}
}

// collect asks the ztunnels of the nodes that the namespaces' pods run on, and the
// istiods that they learn from. Not being allowed to list them leaves the evidence
// out: the checks that need it are then unknown.
func (o *verifyOptions) collect(ctx context.Context, snapshot *mesh.Snapshot, namespaces []mesh.Namespace) (*mesh.Evidence, error) {
	var pods []mesh.Pod
	for _, namespace := range namespaces {
		if !snapshot.Coverage(mesh.ZtunnelPods, namespace.Name).Known() {
			return nil, nil
		}
		pods = append(pods, snapshot.Pods(namespace.Name)...)
	}
	var evidence *mesh.Evidence
	err := wait.ExponentialBackoffWithContext(ctx, catchingUp(), func(ctx context.Context) (bool, error) {
		var err error
		if evidence, err = o.evidence(ctx, actions.NodesOf(pods)); err != nil {
			return false, err
		}
		if err := o.reader.AskIstiods(ctx, evidence); err != nil {
			return false, err
		}
		return !slices.ContainsFunc(namespaces, func(namespace mesh.Namespace) bool {
			return slices.ContainsFunc(checks.OutOfStep(snapshot, namespace, evidence), func(finding checks.Finding) bool {
				return finding.Status == v1alpha1.StatusFail
			})
		}), nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		// It is out of step for good, which a check says.
		err = nil
	}
	if err == nil {
		err = o.reader.AskTraffic(ctx, evidence)
	}
	if errors.Is(err, context.Canceled) || outOfTime(err) {
		return nil, err
	}
	return evidence, o.explain(err)
}
