package render

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Resources writes what the proxies of a namespace take.
func Resources(out io.Writer, report v1alpha1.ResourceReport) {
	var rows [][]string
	var reasons []string
	unknown := map[string][]string{}
	for _, row := range []struct {
		name      string
		resources *v1alpha1.ProxyResources
	}{
		{"sidecars before", report.Before}, {"sidecars now", report.Sidecars}, {"ztunnel's share", report.Ztunnel}, {"waypoints", report.Waypoints},
	} {
		resources := row.resources
		if resources == nil || resources.Proxies == 0 && row.name != "sidecars before" {
			continue
		}
		if reason := resources.Unknown; reason != "" {
			if unknown[reason] == nil {
				reasons = append(reasons, reason)
			}
			unknown[reason] = append(unknown[reason], row.name)
		}
		rows = append(rows, []string{
			row.name, strconv.Itoa(resources.Proxies), milliCPU(resources.MilliCPU), memory(resources.Memory),
			milliCPU(&resources.RequestedMilliCPU), memory(&resources.RequestedMemory),
		})
	}
	if len(rows) == 0 {
		return
	}
	// Writing to out fails no other way than for the results before it.
	_ = table(trimmed{out}, []string{"PROXIES", "NUMBER", "CPU", "MEMORY", "REQUESTED CPU", "REQUESTED MEMORY"}, rows)
	for _, reason := range reasons {
		fmt.Fprintln(out, wrapped("unknown: "+strings.Join(unknown[reason], ", ")+": "+reason, 0))
	}
}

func milliCPU(value *int64) string {
	if value == nil {
		return "?"
	}
	return resource.NewMilliQuantity(*value, resource.DecimalSI).String()
}

// memory is a number of bytes in whole mebibytes, as kubectl top has it.
func memory(value *int64) string {
	if value == nil {
		return "?"
	}
	const mebibyte = 1 << 20
	return fmt.Sprintf("%dMi", (*value+mebibyte/2)/mebibyte)
}

func sidecarsOf(report *v1alpha1.ResourceReport) *v1alpha1.ProxyResources  { return report.Sidecars }
func ztunnelOf(report *v1alpha1.ResourceReport) *v1alpha1.ProxyResources   { return report.Ztunnel }
func waypointsOf(report *v1alpha1.ResourceReport) *v1alpha1.ProxyResources { return report.Waypoints }

// ofReport is what some proxies use, in a cell of a table.
func ofReport(report *v1alpha1.ResourceReport, of func(*v1alpha1.ResourceReport) *v1alpha1.ProxyResources) string {
	if report == nil {
		return ""
	}
	resources := of(report)
	switch {
	case resources == nil || resources.Proxies == 0:
		return ""
	case resources.MilliCPU == nil:
		return "?"
	default:
		return milliCPU(resources.MilliCPU) + "/" + memory(resources.Memory)
	}
}
