package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// Status writes one row a namespace.
func Status(out io.Writer, status v1alpha1.MeshStatus) error {
	if len(status.Namespaces) == 0 {
		_, err := fmt.Fprintln(out, "No namespace has anything to do with the mesh.")
		return err
	}
	header := []string{"NAMESPACE", "DATA PLANE", "INJECTION", "MODE", "WAYPOINT", "PODS", "RESTARTS"}
	withRuns := slices.ContainsFunc(status.Namespaces, func(namespace v1alpha1.NamespaceStatus) bool {
		return run(namespace.Record) != ""
	})
	if withRuns {
		header = append(header, "RUN")
	}
	var rows [][]string
	for _, namespace := range status.Namespaces {
		row := []string{
			namespace.Name, string(namespace.DataPlane), dash(namespace.Injection), dash(namespace.DataplaneMode),
			dash(waypoints(namespace.Waypoints)), dash(pods(namespace.Pods)), restarts(namespace.RestartsDue),
		}
		if withRuns {
			row = append(row, dash(run(namespace.Record)))
		}
		rows = append(rows, row)
	}
	return table(trimmed{out}, header, rows)
}

func waypoints(waypoints []v1alpha1.WaypointStatus) string {
	var texts []string
	for _, waypoint := range waypoints {
		state := "ready"
		switch {
		case !waypoint.Exists:
			state = "missing"
		case !waypoint.Programmed:
			state = "not programmed"
		case waypoint.ReadyEndpoints == 0:
			state = "no endpoints"
		}
		if !waypoint.Used {
			state += ", unused"
		}
		texts = append(texts, fmt.Sprintf("%s (%s)", waypoint.Name, state))
	}
	return strings.Join(texts, ", ")
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

func restarts(due int) string {
	if due == 0 {
		return "-"
	}
	return fmt.Sprintf("%d due", due)
}

// run is the newest run, as far as it matters: one that is over and done needs
// no mention.
func run(record *v1alpha1.RecordSummary) string {
	if record == nil || record.State == v1alpha1.RunSucceeded || record.State == v1alpha1.RunRolledBack {
		return ""
	}
	return string(record.Operation) + " " + string(record.State)
}
