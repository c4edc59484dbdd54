package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
)

// waypointDiverted is about Services that do not go any more where a run has sent them.
func waypointDiverted() Check {
	return handing(Check{
		ID: "waypoint-diverted", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		About: "Whether every Service of this namespace that a run has put behind a waypoint still names that waypoint, for gateways as well where it did.",
		Why: "What stands in for sidecars was made for one waypoint: policies that are attached to it, and what lets it through to the pods. Through another " +
			"one, be it as ready, calls are refused or pass by these policies; through none, ztunnel decides alone. Gateways go through one only where the Service, or its namespace, says so by a label of its own.",
		Needs:  waypointSources(),
		Passed: "every Service goes through the waypoint that a run has put it behind",
	}, func(subject Subject) []Finding {
		var findings []Finding
		for _, fronted := range subject.fronts() {
			labels, found := subject.labelsNow(fronted.Object)
			if !found {
				continue
			}
			in, name, named := mesh.NamedWaypoint(labels, subject.Namespace)
			_, there := subject.Snapshot.Gateway(in, name)
			finding := Finding{
				Status: v1alpha1.StatusFail, Object: reference(fronted.Object), Field: "metadata.labels[" + label.IoIstioUseWaypoint.Name + "]",
				Remedy: putBack(fronted),
			}
			switch {
			case named && !there:
				// What is named and is not there, waypointMissing says.
				continue
			case in+"/"+name == fronted.Waypoint && (!fronted.Ingress || mesh.IngressUsesWaypoint(labels, subject.Namespace.Labels)):
				continue
			case in+"/"+name == fronted.Waypoint:
				ingress := label.IoIstioIngressUseWaypoint.Name
				finding.Field = "metadata.labels[" + ingress + "]"
				finding.Message = fmt.Sprintf("gateways go past waypoint %s, which a run has put it behind for them as well: what is enforced there is not for their calls, or ztunnel refuses them", fronted.Waypoint)
				finding.Remedy = labelling(fronted.Object, ingress+"=true")
			case !named:
				finding.Message = fmt.Sprintf("it names no waypoint any more, and a run has put it behind %s: what is enforced there is not", fronted.Waypoint)
			default:
				finding.Message = fmt.Sprintf("it names waypoint %s/%s, and a run has put it behind %s, which its policies were made for", in, name, fronted.Waypoint)
				finding.Remedy += "; if it is meant, kubectl ambient enroll -n " + subject.Namespace.Name + " makes what the other needs"
			}
			findings = append(findings, finding)
		}
		return findings
	})
}

// putBack is how a Service names again the waypoint that it was put behind.
func putBack(fronted v1alpha1.FrontedService) string {
	in, name, _ := strings.Cut(fronted.Waypoint, "/")
	labels := label.IoIstioUseWaypoint.Name + "=" + name
	if in != fronted.Object.Namespace {
		labels += " " + label.IoIstioUseWaypointNamespace.Name + "=" + in
	}
	return labelling(fronted.Object, labels)
}

// labelling is how somebody labels an object.
func labelling(object v1alpha1.ObjectReference, labels string) string {
	return fmt.Sprintf("kubectl -n %s label %s %s %s --overwrite", object.Namespace, strings.ToLower(object.Kind), object.Name, labels)
}

// fronts are the Services and ServiceEntries of the namespace that runs have put behind
// a waypoint, and that are there and were not taken off it.
func (s Subject) fronts() []v1alpha1.FrontedService {
	if s.Handed == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.Handed.Fronted), func(fronted v1alpha1.FrontedService) bool {
		_, there := s.Snapshot.Object(fronted.Object)
		off := fronted.Object.Kind == mesh.KindService && slices.Contains(s.Handed.TakenOff, fronted.Object.Name)
		return !there || off || fronted.Object.Namespace != s.Namespace.Name
	})
}

// diverted says whether waypointDiverted names a Service.
func (s Subject) diverted(service v1alpha1.ObjectReference) bool {
	return slices.ContainsFunc(s.fronts(), func(fronted v1alpha1.FrontedService) bool {
		in, name := s.namesNow(fronted.Object)
		return same(fronted.Object, service) && in+"/"+name != fronted.Waypoint
	})
}

// namesNow is the waypoint that the labels of a Service or ServiceEntry name, or those
// of the namespace.
func (s Subject) namesNow(service v1alpha1.ObjectReference) (in, name string) {
	if labels, found := s.labelsNow(service); found {
		in, name, _ = mesh.NamedWaypoint(labels, s.Namespace)
	}
	return in, name
}

// labelsNow are the labels of a Service or ServiceEntry.
func (s Subject) labelsNow(service v1alpha1.ObjectReference) (labels map[string]string, found bool) {
	switch service.Kind {
	case mesh.KindService:
		for _, one := range s.Snapshot.Services(service.Namespace) {
			if one.Name == service.Name {
				return one.Labels, true
			}
		}
	default:
		for _, entry := range s.Snapshot.ServiceEntries() {
			if entry.Namespace == service.Namespace && entry.Name == service.Name {
				return entry.Labels, true
			}
		}
	}
	return nil, false
}

// leftBehind says whether a target of the namespace is a Service that waypointDiverted
// names, or the waypoint that such a one was put behind.
func (s Subject) leftBehind(target mesh.Target) bool {
	return slices.ContainsFunc(s.fronts(), func(fronted v1alpha1.FrontedService) bool {
		in, name := s.namesNow(fronted.Object)
		is := target.Kind == fronted.Object.Kind && target.Name == fronted.Object.Name || target.Is(ofGateways) && s.Namespace.Name+"/"+target.Name == fronted.Waypoint
		return is && in+"/"+name != fronted.Waypoint
	})
}
