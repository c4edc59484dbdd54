package plugin

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/usage"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
)

type statusOptions struct {
	*session
	source    source
	shaping   shaping
	handover  handover
	output    output
	all       bool
	selector  string
	noHeaders bool
	watch     bool

	// only is the namespace asked for; empty for all of the mesh.
	only     string
	selected labels.Selector
}

func newStatusCommand(session *session) *cobra.Command {
	options := &statusOptions{session: session, output: output{too: []render.Format{render.FormatWide, render.FormatName}}}
	command := &cobra.Command{
		Use:   "status",
		Short: "Show where every namespace of the mesh stands",
		Long: `Show where every namespace of the mesh stands: what carries its traffic, which
labels ask for what, its waypoints, its pods by kind, how many of them a restart
would move to another mode, the phase of the migration that it has reached, and
how many findings stand in its way. Columns that would be empty are left out,
unless -o wide asks for them. With -n only that namespace, with its workloads and
Services.`,
		Example: "  kubectl ambient status\n  kubectl ambient status -n shop -o json\n  kubectl ambient status -f mesh.yaml",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.complete(); err != nil {
				return err
			}
			return options.run(command.Context())
		},
	}
	options.output.addFlag(command)
	options.source.addFlags(command)
	options.shaping.addFlags(command, "", "; none by default")
	options.handover.addFlags(command)
	flags := command.Flags()
	flags.BoolVarP(&options.all, "all-namespaces", "A", false, "Show all namespaces of the mesh, which is the default, in spite of -n")
	flags.StringVarP(&options.selector, "selector", "l", "", "Show namespaces with these labels only")
	flags.BoolVar(&options.noHeaders, "no-headers", false, "Do not print the headings of columns")
	flags.BoolVarP(&options.watch, "watch", "w", false, "Show the status again whenever it changes")
	return command
}

func (o *statusOptions) complete() (err error) {
	if err := o.output.complete(); err != nil {
		return err
	}
	if err := o.source.validate(); err != nil {
		return err
	}
	if err := o.shaping.validate(); err != nil {
		return err
	}
	if err := o.handover.validate(); err != nil {
		return err
	}
	if o.selected, err = labels.Parse(o.selector); err != nil {
		return usageError("--selector: %w", err)
	}
	if o.watch && (!o.output.human() || o.source.fromFiles()) {
		return usageError("--watch shows a cluster to people: it does not go with -f, nor with -o %s", o.output.text)
	}
	if o.namespaceGiven() && !o.all {
		if o.only, err = o.namespace(); err != nil {
			return err
		}
	}
	if o.handover.ofOneNamespace() && o.only == "" {
		return usageError("--%s and --%s name Services of one namespace: name it with -n", flagSkip, flagAdd)
	}
	if o.source.fromFiles() {
		return nil
	}
	return o.connect()
}

func (o *statusOptions) run(ctx context.Context) error {
	if o.watch {
		return o.follow(ctx, func(ctx context.Context, out io.Writer) error {
			status, err := o.collect(ctx)
			if err != nil {
				return err
			}
			return o.print(out, status)
		})
	}
	status, err := o.collect(ctx)
	if err != nil {
		return err
	}
	if err := o.print(o.Streams.Out, status); err != nil {
		return err
	}
	return o.verdict(status)
}

// readMesh reads the mesh from wherever it is to be read.
func (o *statusOptions) readMesh(ctx context.Context) (*mesh.Snapshot, error) {
	if o.source.fromFiles() || o.only == "" {
		return o.take(ctx, o.source, mesh.Scope{Namespace: o.only, All: o.only == ""})
	}
	_, snapshot, err := o.readSharing(ctx, o.only, o.handover.options().Beside()...)
	return snapshot, err
}

// collect reads the mesh and says where its namespaces stand.
func (o *statusOptions) collect(ctx context.Context) (v1alpha1.MeshStatus, error) {
	status := v1alpha1.MeshStatus{TypeMeta: v1alpha1.Document(v1alpha1.KindMeshStatus), Namespaces: []v1alpha1.NamespaceStatus{}}
	snapshot, err := o.readMesh(ctx)
	if err != nil {
		return status, err
	}
	if err := o.findIstio(snapshot); err != nil {
		return status, err
	}
	namespaces := snapshot.Namespaces()
	if o.only != "" {
		namespace, err := o.findIn(o.source, snapshot, o.only)
		if err != nil {
			return status, err
		}
		namespaces = []mesh.Namespace{namespace}
	}
	status.Unknown = o.unseen(snapshot)
	records := map[string]v1alpha1.RecordSummary{}
	if !o.source.fromFiles() {
		if records, err = record.Newest(ctx, o.kube.CoreV1()); err != nil {
			status.Unknown = append(status.Unknown, err.Error())
		}
	}
	status.Unrecognized = unrecognized(snapshot)
	survey := o.surveys(snapshot, namespaces)
	if survey {
		status.Unknown = append(status.Unknown, fmt.Sprintf("calls are compared for at most %d namespaces at a time, and there are more: what would become of them, `status NAMESPACE` says", mostCompared))
	}
	measured, measuring, err := o.measure(ctx)
	if err != nil {
		return status, err
	}
	if measured.Problem != "" {
		status.Unknown = append(status.Unknown, "what proxies use: "+measured.Problem)
	}
	for _, namespace := range namespaces {
		if !o.selected.Matches(labels.Set(namespace.Labels)) {
			continue
		}
		row := snapshot.Status(namespace)
		if newest, found := records[namespace.Name]; found {
			row.Record = &newest
		}
		inMesh := mesh.InMesh(row)
		if o.only == "" && !inMesh && row.Record == nil {
			continue
		}
		if err := o.judge(&row, snapshot, namespace, inMesh, survey); err != nil {
			return status, err
		}
		if measuring && inMesh {
			row.Resources = usage.Report(snapshot, namespace, nil, measured, nil)
		}
		if o.only != "" {
			row.Workloads, row.Services = snapshot.WorkloadStatuses(namespace), snapshot.ServiceStatuses(namespace)
		}
		status.Namespaces = append(status.Namespaces, row)
	}
	return status, nil
}

// measure asks what pods use, where all is to be shown of a cluster.
func (o *statusOptions) measure(ctx context.Context) (measured usage.Measured, measuring bool, err error) {
	switch {
	case o.output.format != render.FormatWide:
		return measured, false, nil
	case o.source.fromFiles():
		return usage.Measured{Problem: "files do not hold it"}, true, nil
	}
	measured, err = usage.Read(ctx, o.dyn, o.only)
	return measured, true, err
}

// unseen names what the table rests on and could not be read.
func (o *statusOptions) unseen(snapshot *mesh.Snapshot) []string {
	var unseen []string
	for _, key := range []string{mesh.KindNamespace, mesh.PodsMeshWide, mesh.KindMutatingWebhookConfiguration, mesh.KindGateway, mesh.WaypointEndpoints} {
		if coverage := snapshot.Coverage(key, o.only); !coverage.Known() {
			unseen = append(unseen, fmt.Sprintf("%s: %s", key, coverage.Reason))
		}
	}
	return unseen
}

func unrecognized(snapshot *mesh.Snapshot) map[string]int {
	counts := map[string]int{}
	for kind, count := range snapshot.Unrecognized() {
		name := kind.GroupKind().String()
		if kind.Kind == "" {
			name = "(not a Kubernetes object)"
		}
		counts[name] += count
	}
	if len(counts) == 0 {
		return nil
	}
	return counts
}

// mostCompared is for how many namespaces calls are compared: it takes longer than
// all else that a row says, half a second for one of a large mesh.
const mostCompared = 20

// surveys says whether there are too many namespaces to compare calls for each.
// Where the exit status is to tell of findings, none is left out.
func (o *statusOptions) surveys(snapshot *mesh.Snapshot, namespaces []mesh.Namespace) bool {
	if o.shaping.failOn != "" {
		return false
	}
	judged := 0
	for _, namespace := range namespaces {
		if o.selected.Matches(labels.Set(namespace.Labels)) && mesh.InMesh(snapshot.Status(namespace)) && !checks.Protected(snapshot, namespace.Name) {
			judged++
		}
	}
	return judged > mostCompared
}

// judge adds how far the namespace has come and what stands in its way. Of the
// namespaces of Kubernetes and Istio themselves, and of those outside the mesh,
// there is nothing to say.
func (o *statusOptions) judge(row *v1alpha1.NamespaceStatus, snapshot *mesh.Snapshot, namespace mesh.Namespace, inMesh, survey bool) error {
	if !inMesh || checks.Protected(snapshot, namespace.Name) {
		return nil
	}
	planning := plan.Enroll
	if survey {
		planning = plan.Survey
	}
	options := o.handover.options()
	if row.Record != nil {
		options.Translation.TakenOff = row.Record.TakenOff
		for _, result := range checks.TakenOff(snapshot, namespace, row.Record.TakenOff) {
			if result.Status == v1alpha1.StatusWarn {
				row.Drift = append(row.Drift, result)
				row.Warnings++
			}
		}
	}
	planned, err := planning(snapshot, namespace, options)
	if err != nil {
		return plannedError(fmt.Errorf("namespace %s: %w", namespace.Name, err))
	}
	row.Phase = plan.Reached(planned, row.DataplaneMode)
	for _, result := range o.shaping.Apply(planned.Gates, snapshot, namespace) {
		if result.ID == checks.IDOrphanedPolicies && result.Status == v1alpha1.StatusWarn {
			row.Drift = append(row.Drift, result)
		}
		switch {
		case result.Blocks():
			row.Blockers++
		case result.Status == v1alpha1.StatusWarn, result.Status == v1alpha1.StatusUnknown:
			row.Warnings++
		case result.Suppressed != "":
			row.Hidden++
		}
	}
	return nil
}

// findIstio refuses to report on a cluster without Istio, unless it cannot be
// told whether there is one.
func (o *statusOptions) findIstio(snapshot *mesh.Snapshot) error {
	seen := snapshot.Coverage(mesh.IstiodDeployments, "").Known() && snapshot.Coverage(mesh.KindMutatingWebhookConfiguration, "").Known()
	if len(snapshot.Istiods()) > 0 || len(snapshot.Injectors()) > 0 || !seen || o.source.fromFiles() {
		return nil
	}
	return fmt.Errorf("no Istio in the cluster of context %s: no Deployment labelled app=istiod in any namespace: install Istio, or choose another --context", o.contextName())
}

func (o *statusOptions) print(out io.Writer, status v1alpha1.MeshStatus) error {
	if len(status.Namespaces) == 0 && len(status.Unknown) > 0 && !o.source.fromFiles() {
		return fmt.Errorf("the mesh cannot be read: %s: ask for permission to list it", status.Unknown[0])
	}
	if o.output.format == render.FormatName {
		for _, namespace := range status.Namespaces {
			fmt.Fprintf(out, "namespace/%s\n", namespace.Name)
		}
		return nil
	}
	if !o.output.human() {
		return render.Document(out, o.output.format, status)
	}
	style := render.StatusStyle{Wide: o.output.format == render.FormatWide, NoHeaders: o.noHeaders, Nothing: o.nothing(status)}
	if err := render.Status(out, status, style); err != nil {
		return err
	}
	if o.only != "" && len(status.Namespaces) == 1 {
		if err := render.NamespaceDetails(out, status.Namespaces[0], style); err != nil {
			return err
		}
	}
	render.Drift(out, status)
	for _, unknown := range status.Unknown {
		fmt.Fprintf(o.Streams.ErrOut, "unknown: %s\n", unknown)
	}
	render.Unrecognized(o.Streams.ErrOut, status.Unrecognized)
	return nil
}

// nothing says why the table has no row.
func (o *statusOptions) nothing(status v1alpha1.MeshStatus) string {
	switch {
	case slices.ContainsFunc(status.Unknown, func(text string) bool { return strings.HasPrefix(text, mesh.KindNamespace+": ") }):
		return "No namespace is known: the files hold none."
	case o.selector != "" && o.only != "":
		return "Namespace " + o.only + " does not have these labels."
	case o.selector != "":
		return "No namespace of the mesh has these labels."
	default:
		return "No namespace has anything to do with the mesh."
	}
}

// verdict is the error that --fail-on makes of findings.
func (o *statusOptions) verdict(status v1alpha1.MeshStatus) error {
	if o.shaping.failOn == "" {
		return nil
	}
	blockers, warnings := 0, 0
	for _, namespace := range status.Namespaces {
		blockers += namespace.Blockers
		warnings += namespace.Warnings
	}
	if blockers > 0 || o.shaping.onWarning() && warnings > 0 {
		return blockedError("%d findings block and %d warn: kubectl ambient plan -n NAMESPACE names them", blockers, warnings)
	}
	return nil
}
