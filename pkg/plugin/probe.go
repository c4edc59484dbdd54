package plugin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"github.com/spf13/pflag"
	authorizationv1 "k8s.io/api/authorization/v1"
)

// callTimeout bounds each call of a probe pod.
const callTimeout = 5 * time.Second

// probeOptions are those of verify about traffic.
type probeOptions struct {
	probe, canary bool
	image         string
	accounts      []string
	timeout       time.Duration
}

func (p *probeOptions) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&p.probe, "probe", false, "Then try calls from pods that live for a moment in the namespace (docs/probes.md)")
	flags.BoolVar(&p.canary, "canary", false, "Instead try calls in a namespace made for it, before anything is enrolled (docs/probes.md)")
	flags.StringVar(&p.image, "probe-image", probe.Image, "With --probe and --canary: the image of the probe program, by digest")
	flags.StringSliceVar(&p.accounts, "probe-service-account", []string{probe.DefaultAccount}, "With --probe: the ServiceAccounts that probe pods call as")
	flags.DurationVar(&p.timeout, "probe-timeout", 2*time.Minute, "With --probe and --canary: how long a probe pod may take, its start included")
}

func (p *probeOptions) validate(o *verifyOptions) error {
	if !p.probe && !p.canary {
		return nil
	}
	_, digest, byDigest := strings.Cut(p.image, "@sha256:")
	switch {
	case p.probe && p.canary:
		return usageError("--probe tries calls in a namespace that is there, --canary in one of its own: use one of them")
	case o.watch:
		return usageError("--watch verifies again and again: it does not go with --probe and --canary, which make pods")
	case p.canary && (o.all || o.wait || o.namespaceGiven()):
		return usageError("--canary makes a namespace of its own: it does not go with -n, -A and --wait")
	case p.image == "":
		return usageError("no image of the probe program is published yet: build one (cmd/kubectl-ambient-probe/Containerfile) and name it with --probe-image")
	case !byDigest || len(digest) != 64 || strings.Trim(digest, "0123456789abcdef") != "":
		return usageError("--probe-image %s is not pinned by digest: name it as REGISTRY/NAME@sha256:DIGEST", p.image)
	case p.timeout < time.Second:
		return usageError("--probe-timeout %s is less than a second", p.timeout)
	case p.probe && (len(p.accounts) == 0 || slices.Contains(p.accounts, "")):
		return usageError("--probe-service-account names no ServiceAccount")
	}
	return nil
}

// runner makes probe pods.
func (o *verifyOptions) runner() *probe.Runner {
	return &probe.Runner{Kube: o.kube, Image: o.probe.image, ID: newID(o.Now()), Timeout: o.probe.timeout}
}

// probed adds to reports what calls in their namespaces have shown, which try makes.
func (o *verifyOptions) probed(
	ctx context.Context, reports []v1alpha1.VerifyReport, try func(context.Context, string) (checks.Subject, error),
) ([]v1alpha1.VerifyReport, error) {
	for i := range reports {
		fmt.Fprintf(o.Streams.ErrOut, "probing: namespace %s\n", reports[i].Namespace)
		subject, err := try(ctx, reports[i].Namespace)
		switch {
		case ctx.Err() != nil:
			// All calls may have been tried by then, and no error be left of that.
			return nil, cmp.Or(err, ctx.Err())
		case err != nil:
			subject.Probed = failed(err)
		}
		judged(&reports[i], subject)
	}
	return reports, nil
}

// probedSubject probes a namespace. What it returns can be judged where that failed, too.
func (o *verifyOptions) probedSubject(ctx context.Context, name string) (checks.Subject, error) {
	subject := checks.Subject{Namespace: mesh.Namespace{Name: name}}
	_, snapshot, err := o.read(ctx, name)
	if err != nil {
		return subject, err
	}
	namespace, err := o.find(snapshot, name)
	if err != nil {
		return subject, err
	}
	subject.Snapshot, subject.Namespace = snapshot, namespace
	if err := o.recorded(ctx, &subject); err != nil {
		return subject, err
	}
	subject.Accepts = o.accepts(subject.Accepts)
	subject.Probed, err = o.probeNamespace(ctx, snapshot, namespace)
	return subject, err
}

// failed is what is found where probing came to nothing: what the other checks have found
// counts all the same.
func failed(err error) *checks.Probed {
	return &checks.Probed{Findings: []checks.Finding{{
		Status: v1alpha1.StatusUnknown, Message: "calls could not be tried: " + err.Error(), Remedy: "see what is named, and probe again",
	}}}
}

// judged adds the checks of probes to a report.
func judged(report *v1alpha1.VerifyReport, subject checks.Subject) {
	report.Results = append(report.Results, checks.Run(checks.ProbeChecks(), subject)...)
	report.Summary = v1alpha1.Summarize(report.Results)
	report.Verified = !slices.ContainsFunc(report.Results, v1alpha1.CheckResult.Blocks)
}

// probeNamespace tries calls in a namespace.
func (o *verifyOptions) probeNamespace(ctx context.Context, snapshot *mesh.Snapshot, namespace mesh.Namespace) (*checks.Probed, error) {
	missing, err := o.notAllowed(ctx, proberNeeds(namespace.Name))
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return notPermitted(missing, ProberRole), nil
	}
	if unread := unreadFor(snapshot, namespace.Name); unread != "" {
		return &checks.Probed{Findings: []checks.Finding{{
			Status: v1alpha1.StatusUnknown, Message: "what policies say of calls cannot be told without " + unread, Remedy: "grant list on it",
		}}}, nil
	}
	runner := o.runner()
	callers, absent := probe.Callers(snapshot, namespace, o.probe.accounts)
	draft := probe.Draw(access.Of(snapshot, []string{namespace.Name}, access.Overlay{}), namespace.Name, callers, callTimeout)
	for _, reason := range absent {
		draft.Untried = append(draft.Untried, probe.Untried{Reason: reason})
	}
	// What an earlier probe has left may use up a quota that this one needs.
	earlier, notSwept := runner.Sweep(ctx, namespace.Name)
	tried, left, err := runner.Try(ctx, namespace.Name, draft)
	if err != nil {
		return nil, o.explain(withLeft(err, left))
	}
	probed := probedBy(probe.Judge(draft, tried), left)
	o.tellSwept(probed, earlier, notSwept)
	swept, err := runner.Sweep(ctx, namespace.Name)
	o.tellSwept(probed, swept, err)
	if draft.Protected == 0 {
		// There is nothing to prove.
		probed.Findings = append(probed.Findings, checks.Finding{Status: v1alpha1.StatusSkip, Message: "no call was tried: nothing protects a workload"})
	}
	return probed, nil
}

// tellSwept tells what was removed of earlier runs, and adds what could not be.
func (o *verifyOptions) tellSwept(probed *checks.Probed, swept []string, err error) {
	if len(swept) > 0 {
		fmt.Fprintf(o.Streams.ErrOut, "removed what an earlier probe has left: %s\n", strings.Join(swept, ", "))
	}
	if err != nil {
		probed.Findings = append(probed.Findings, stillThere(err))
	}
}

// withLeft adds to an error what could not be removed.
func withLeft(err error, left []error) error {
	for _, one := range left {
		err = fmt.Errorf("%w; %w", err, one)
	}
	return err
}

// probedBy is what a run of probes has found, as checks take it.
func probedBy(verdict probe.Verdict, left []error) *checks.Probed {
	probed := &checks.Probed{Proven: verdict.Proven, Findings: asFindings(verdict.Findings), Untried: asFindings(verdict.Untried)}
	for _, one := range left {
		probed.Findings = append(probed.Findings, stillThere(one))
	}
	return probed
}

func stillThere(err error) checks.Finding {
	return checks.Finding{Status: v1alpha1.StatusWarn, Message: err.Error(), Remedy: "delete what has the label " + probe.Label + ", or leave it to the next probe"}
}

func asFindings(from []probe.Finding) []checks.Finding {
	var all []checks.Finding
	for _, one := range from {
		all = append(all, checks.Finding{Status: one.Status, Object: one.Object, Message: one.Message, Remedy: one.Remedy})
	}
	return all
}

// notPermitted is what is found where the user may not probe.
func notPermitted(missing []authorizationv1.ResourceAttributes, role string) *checks.Probed {
	var texts []string
	for _, need := range missing {
		texts = append(texts, describeNeed(need))
	}
	return &checks.Probed{Findings: []checks.Finding{{
		Status: v1alpha1.StatusUnknown, Message: "no call was tried: you may not " + strings.Join(texts, ", "), Remedy: "bind the role " + role + " of docs/rbac.yaml",
	}}}
}

// unreadFor names what was not read of a namespace and decides calls; empty where all was.
func unreadFor(snapshot *mesh.Snapshot, namespace string) string {
	for _, key := range []string{mesh.KindAuthorizationPolicy, mesh.KindPeerAuthentication, mesh.KindRequestAuthentication, mesh.KindService, mesh.KindPod, mesh.KindGateway} {
		if coverage := snapshot.Coverage(key, namespace); !coverage.Known() {
			return key + ": " + coverage.Reason
		}
	}
	return ""
}

// proberNeeds are what verify --probe needs in a namespace besides reading the mesh.
func proberNeeds(namespace string) []authorizationv1.ResourceAttributes {
	return within(namespace, attributes("", "pods", "list", "watch", "create", "delete"))
}

func within(namespace string, needs []authorizationv1.ResourceAttributes) []authorizationv1.ResourceAttributes {
	for i := range needs {
		needs[i].Namespace = namespace
	}
	return needs
}

// runCanary proves on a namespace made for it that the data plane enforces.
func (o *verifyOptions) runCanary(ctx context.Context) error {
	canary := &probe.Canary{Runner: o.runner(), Dynamic: o.dyn, Model: o.model}
	probed, proof, err := o.tryCanary(ctx, canary)
	if err != nil {
		return err
	}
	report := v1alpha1.VerifyReport{TypeMeta: v1alpha1.Document(v1alpha1.KindVerifyReport), Namespace: canary.Namespace()}
	judged(&report, checks.Subject{Namespace: mesh.Namespace{Name: canary.Namespace()}, Probed: probed})
	if o.output.human() {
		render.Canary(o.Streams.Out, report, proof)
	} else if err := o.print(o.Streams.Out, []v1alpha1.VerifyReport{report}); err != nil {
		return err
	}
	if !report.Verified {
		return blockedError("canary: %s", firstBlocking(report.Results))
	}
	return nil
}

// model is how the mesh decides calls in a namespace; nil where what tells may not be read.
func (o *verifyOptions) model(ctx context.Context, namespace string) (*access.State, error) {
	_, snapshot, err := o.read(ctx, namespace)
	if err != nil || unreadFor(snapshot, namespace) != "" {
		return nil, err
	}
	return access.Of(snapshot, []string{namespace}, access.Overlay{}), nil
}

// tryCanary says besides what was found where it was.
func (o *verifyOptions) tryCanary(ctx context.Context, canary *probe.Canary) (*checks.Probed, render.Proof, error) {
	missing, err := o.notAllowed(ctx, append(canaryNeeds(), inCanaryNeeds(canary.Namespace())...))
	if err != nil {
		return nil, render.Proof{}, err
	}
	if len(missing) > 0 {
		return notPermitted(missing, CanaryRole), render.Proof{}, nil
	}
	fmt.Fprintf(o.Streams.ErrOut, "probing: in namespace %s, which is removed again\n", canary.Namespace())
	verdict, left, err := canary.Run(ctx)
	if err != nil {
		return nil, render.Proof{}, o.explain(withLeft(err, left))
	}
	probed := probedBy(verdict.Verdict, left)
	swept, err := canary.SweepNamespaces(ctx)
	o.tellSwept(probed, swept, err)
	return probed, render.Proof{Server: verdict.Server, Callers: verdict.Callers}, nil
}

// canaryNeeds are what verify --canary needs of the cluster.
func canaryNeeds() []authorizationv1.ResourceAttributes {
	return attributes("", "namespaces", "list", "create", "delete")
}

// inCanaryNeeds are what it needs in its namespace.
func inCanaryNeeds(namespace string) []authorizationv1.ResourceAttributes {
	return within(namespace, slices.Concat(
		attributes("", "pods", "get", "list", "watch", "create", "delete"), attributes("", "serviceaccounts", "create"), attributes("", "services", "create"),
		attributes("security.istio.io", "authorizationpolicies", "get", "create"), attributes("security.istio.io", "peerauthentications", "create"),
	))
}
