package render

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

// StatusStyle is how a status is written.
type StatusStyle struct {
	// Wide shows columns that are empty, too.
	Wide      bool
	NoHeaders bool
	// Nothing is what is said where there is no row.
	Nothing string
}

// column is a column of a table: how it is headed, and each row's cell.
type column[T any] struct {
	heading string
	cell    func(T) string
	// optional columns are left out where every cell is empty.
	optional bool
}

// columns writes a table of rows.
func columns[T any](out io.Writer, rows []T, all []column[T], style StatusStyle) error {
	var header []string
	cells := make([][]string, len(rows))
	for _, column := range all {
		filled := slices.ContainsFunc(rows, func(row T) bool { return column.cell(row) != "" })
		if column.optional && !filled && !style.Wide {
			continue
		}
		header = append(header, column.heading)
		for i, row := range rows {
			cells[i] = append(cells[i], dash(checks.Line(column.cell(row))))
		}
	}
	if style.NoHeaders {
		header = nil
	}
	return table(trimmed{out}, header, cells)
}

// Status writes one row a namespace.
func Status(out io.Writer, status v1alpha1.MeshStatus, style StatusStyle) error {
	if len(status.Namespaces) == 0 {
		_, err := fmt.Fprintln(out, style.Nothing)
		return err
	}
	type row = v1alpha1.NamespaceStatus
	all := []column[row]{
		{heading: "NAMESPACE", cell: func(n row) string { return n.Name }},
		{heading: "DATA PLANE", cell: func(n row) string { return string(n.DataPlane) }},
		{heading: "INJECTION", cell: func(n row) string { return n.Injection }},
		{heading: "MODE", cell: func(n row) string { return n.DataplaneMode }},
		{heading: "WAYPOINT", cell: func(n row) string { return waypoints(n.Waypoints, style.Wide) }, optional: true},
		{heading: "PODS", cell: func(n row) string { return pods(n.Pods) }},
		{heading: "RESTARTS", cell: func(n row) string { return restarts(n.RestartsDue) }, optional: true},
		{heading: "PHASE", cell: phase, optional: true},
		{heading: "FINDINGS", cell: findings},
		{heading: "RUN", cell: func(n row) string { return run(n.Record) }, optional: true},
	}
	if style.Wide {
		all = append(all, []column[row]{
			{heading: "SIDECARS", cell: func(n row) string { return ofReport(n.Resources, sidecarsOf) }},
			{heading: "ZTUNNEL", cell: func(n row) string { return ofReport(n.Resources, ztunnelOf) }},
			{heading: "WAYPOINTS USE", cell: func(n row) string { return ofReport(n.Resources, waypointsOf) }},
		}...)
	}
	return columns(out, status.Namespaces, all, style)
}

// Drift writes what earlier enrolments left behind, of all namespaces.
func Drift(out io.Writer, status v1alpha1.MeshStatus) {
	heading := "\nDRIFT (left by earlier enrolments)"
	for _, namespace := range status.Namespaces {
		for _, finding := range namespace.Drift {
			if heading != "" {
				fmt.Fprintln(out, heading)
				heading = ""
			}
			fmt.Fprintf(out, "  %s\n    %s\n    -> %s\n", finding.Object, wrapped(finding.Message, 4), finding.Remedy)
		}
	}
}

// phase is how far a migration has come. The last phase that leaves a trace of
// itself is the end.
func phase(namespace v1alpha1.NamespaceStatus) string {
	if namespace.Phase == v1alpha1.PhaseDisableInjection {
		return "done"
	}
	return string(namespace.Phase)
}

func findings(namespace v1alpha1.NamespaceStatus) string {
	var texts []string
	if namespace.Blockers > 0 {
		texts = append(texts, fmt.Sprintf("%d block", namespace.Blockers))
	}
	if namespace.Warnings > 0 {
		texts = append(texts, fmt.Sprintf("%d warn", namespace.Warnings))
	}
	if namespace.Hidden > 0 {
		texts = append(texts, fmt.Sprintf("%d hidden", namespace.Hidden))
	}
	return strings.Join(texts, ", ")
}

// NamespaceDetails writes the workloads and Services of a namespace.
func NamespaceDetails(out io.Writer, namespace v1alpha1.NamespaceStatus, style StatusStyle) error {
	if len(namespace.Workloads) > 0 {
		fmt.Fprintln(out)
		type row = v1alpha1.WorkloadStatus
		err := columns(out, namespace.Workloads, []column[row]{
			{heading: "WORKLOAD", cell: func(w row) string { return strings.ToLower(w.Object.Kind) + "/" + w.Object.Name }},
			{heading: "DATA PLANE", cell: func(w row) string { return string(w.DataPlane) }},
			{heading: "PODS", cell: func(w row) string { return pods(w.Pods) }},
			{heading: "ENROLMENT", cell: func(w row) string { return w.Enrolment }},
			{heading: "RESTARTS", cell: func(w row) string { return restarts(w.RestartsDue) }, optional: true},
			{heading: "ROLLOUT", cell: func(w row) string { return w.Rollout }, optional: true},
		}, style)
		if err != nil {
			return err
		}
	}
	if len(namespace.Services) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	type row = v1alpha1.ServiceStatus
	return columns(out, namespace.Services, []column[row]{
		{heading: "SERVICE", cell: func(s row) string { return s.Name }},
		{heading: "TYPE", cell: func(s row) string { return s.Type }},
		{heading: "DATA PLANE", cell: func(s row) string { return string(s.DataPlane) }},
		{heading: "PODS", cell: func(s row) string { return pods(s.Pods) }},
		{heading: "WAYPOINT", cell: serviceWaypoint},
	}, style)
}

func serviceWaypoint(service v1alpha1.ServiceStatus) string {
	if service.Waypoint == nil {
		return ""
	}
	return fmt.Sprintf("%s/%s (%s, by %s)", service.Waypoint.Namespace, service.Waypoint.Name, waypointState(*service.Waypoint), strings.ToLower(service.WaypointFrom))
}

// Unrecognized writes which objects of files meant nothing.
func Unrecognized(out io.Writer, counts map[string]int) {
	if len(counts) == 0 {
		return
	}
	total := 0
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		total += counts[kind]
		kinds = append(kinds, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	fmt.Fprintln(out, wrapped(fmt.Sprintf("not looked at: %s of kinds that say nothing of the mesh: %s", count(total, "object"), strings.Join(kinds, ", ")), 0))
}

// waypoints names each waypoint with its state; where there are several, and not
// all is to be shown, how many there are and how many of them are in order.
func waypoints(waypoints []v1alpha1.WaypointStatus, all bool) string {
	if len(waypoints) > 1 && !all {
		ready := 0
		for _, waypoint := range waypoints {
			if waypoint.Ready() {
				ready++
			}
		}
		return fmt.Sprintf("%d (%d ready)", len(waypoints), ready)
	}
	var texts []string
	for _, waypoint := range waypoints {
		state := waypointState(waypoint)
		if !waypoint.Used {
			state += ", unused"
		}
		texts = append(texts, fmt.Sprintf("%s (%s)", waypoint.Name, state))
	}
	return strings.Join(texts, ", ")
}

func waypointState(waypoint v1alpha1.WaypointStatus) string {
	switch {
	case !waypoint.Exists:
		return "missing"
	case !waypoint.Programmed:
		return "not programmed"
	case waypoint.ReadyEndpoints == 0:
		return "no endpoints"
	default:
		return "ready"
	}
}

func pods(counts v1alpha1.PodCounts) string {
	var texts []string
	for _, kind := range []struct {
		number int
		name   string
	}{{counts.Sidecar, "sidecar"}, {counts.Ambient, "ambient"}, {counts.Gateway, "gateway"}, {counts.None, "none"}} {
		if kind.number > 0 {
			texts = append(texts, fmt.Sprintf("%d %s", kind.number, kind.name))
		}
	}
	return strings.Join(texts, ", ")
}

func restarts(due *int) string {
	switch {
	case due == nil:
		return "?"
	case *due == 0:
		return ""
	default:
		return fmt.Sprintf("%d due", *due)
	}
}

// run is the newest run, as far as it matters: one that is over and done needs
// no mention.
func run(record *v1alpha1.RecordSummary) string {
	if record == nil || record.State == v1alpha1.RunSucceeded || record.State == v1alpha1.RunRolledBack {
		return ""
	}
	return string(record.Operation) + " " + string(record.State)
}
