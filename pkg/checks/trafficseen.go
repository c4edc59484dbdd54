package checks

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

func trafficSeen() Check {
	return past(Check{
		ID: IDTrafficSeen, Severity: v1alpha1.SeverityWarning,
		About: "Whether the ztunnels of the namespace's nodes have carried connections of its workloads since the enrolment.",
		Why: "All else is what is meant; a connection that ztunnel has counted is one that went its way (ztunnel src/proxy/metrics.rs). That none was seen says nothing where nobody calls, and is no " +
			"finding. What ztunnel counts ends with its process: where it was started anew and has counted nothing yet, and where its counts are not known, those of now or of before, its access " +
			"log is read instead. That has connections that have ended, and the log of the process before, in the same pod, those of then: what is older, or was rotated away, nobody knows.",
		Needs: []string{mesh.KindPod, mesh.ZtunnelPods}, DependsThere: []string{IDZtunnelCaptured},
		Passed: "ztunnel has carried connections of the namespace since its enrolment",
	}, func(subject Subject, past *Past) []Finding {
		if subject.Evidence == nil {
			return []Finding{{Status: v1alpha1.StatusUnknown, Message: "ztunnel was not asked"}}
		}
		return []Finding{subject.counted(past).seen(past)}
	})
}

func plaintextSeen() Check {
	return past(Check{
		ID: IDPlaintextSeen, Severity: v1alpha1.SeverityError,
		About: "Whether ztunnel has let in connections without mTLS since the enrolment, for workloads that refused callers without it on all ports.",
		Why: "ztunnel counts what it refuses as opened, too, and tells by the response flags that it refused it when it closes it (ztunnel src/proxy/inbound_passthrough.rs and metrics.rs): " +
			"these are taken off. Where no ztunnel says anything this is skipped; where some do not, they are named.",
		Needs: []string{mesh.KindPod, mesh.ZtunnelPods}, DependsThere: []string{IDZtunnelCaptured},
		Passed: "no connection without mTLS is known to have been let in since the enrolment",
	}, func(subject Subject, past *Past) []Finding {
		if subject.Evidence == nil {
			return []Finding{{Status: v1alpha1.StatusSkip, Message: "ztunnel was not asked"}}
		}
		return subject.counted(past).plain(past)
	})
}

// counted is what ztunnels have counted of a namespace since a baseline.
type counted struct {
	total v1alpha1.Connections
	// plaintext are the connections that were not encrypted, by workload.
	plaintext map[string]int64
	// unknown say why something is not known, for one node each.
	unknown []string
	// silent are the nodes of which it is not known, unseen say so of those whose access
	// logs do not tell either, and logged are the connections that these have.
	silent, unseen []string
	logged         v1alpha1.Connections
	// unasked are the nodes whose ztunnels could not be asked for anything.
	unasked []string
	// nodes is on how many there are pods, told on how many something is known.
	nodes, told int
}

func (s Subject) counted(past *Past) counted {
	all := counted{plaintext: map[string]int64{}}
	for _, node := range nodesCapturing(s) {
		evidence := s.Evidence.Nodes[node]
		before, known := past.Baseline.Ztunnels[node]
		all.nodes++
		log := accessLog(evidence, s.Namespace.Name)
		switch {
		case evidence.Problem != "":
			all.unasked = append(all.unasked, "node "+node)
			continue
		case evidence.TrafficProblem != "":
			all.unsaid(node, on(node, evidence.TrafficProblem), log)
			continue
		case evidence.Traffic == nil:
			all.unsaid(node, "the ztunnel of node "+node+" was not asked", log)
			continue
		case past.Baseline.ZtunnelProblem != "" || known && before.Problem != "":
			all.unsaid(node, "it is not known what the ztunnel of node "+node+" had counted before", log)
			continue
		case known && before.Instance != evidence.Instance:
			// What it has counted is since its start, which was after the baseline.
			before = v1alpha1.ZtunnelBaseline{}
			all.unsaid(node, "the ztunnel of node "+node+" was started anew since, and with it what it counts", log)
		}
		all.told++
		all.add(s.Namespace.Name, evidence.Traffic, before)
	}
	return all
}

// accessLog is what a ztunnel's access log has of a namespace; nil where it was not read.
func accessLog(evidence mesh.NodeEvidence, namespace string) *mesh.AccessLog {
	if log, read := evidence.AccessLogs[namespace]; read {
		return &log
	}
	return nil
}

// unsaid is about a node whose ztunnel's metrics do not say, or not for all the time, what
// it has carried.
func (c *counted) unsaid(node, why string, log *mesh.AccessLog) {
	c.unknown = append(c.unknown, why)
	c.silent = append(c.silent, node)
	switch {
	case log == nil:
		c.unseen = append(c.unseen, why)
	case log.Gap != "":
		c.unseen = append(c.unseen, why+"; "+log.Gap)
	default:
		c.logged.Inbound += log.Inbound
		c.logged.Outbound += log.Outbound
	}
}

// AccessLogsWanted are the nodes whose ztunnels' metrics do not say whether there was
// traffic since the enrolment, which their access logs may tell, and when that was. There
// are none where others' say that there was.
func AccessLogsWanted(subject Subject) (nodes []string, since time.Time) {
	if subject.Evidence == nil || subject.Past == nil {
		return nil, time.Time{}
	}
	counted := subject.counted(subject.Past)
	if counted.total.Inbound+counted.total.Outbound > 0 {
		return nil, time.Time{}
	}
	return counted.silent, subject.Past.Baseline.Taken
}

// on names the node of a problem that does not.
func on(node, problem string) string {
	if strings.Contains(problem, node) {
		return problem
	}
	return "node " + node + ": " + problem
}

func (c *counted) add(namespace string, now map[string]mesh.Traffic, before v1alpha1.ZtunnelBaseline) {
	for _, workload := range slices.Sorted(maps.Keys(now)) {
		if in, name, _ := strings.Cut(workload, "/"); in == namespace {
			was := before.Connections[name]
			c.total.Inbound += now[workload].Inbound - was.Inbound
			c.total.Outbound += now[workload].Outbound - was.Outbound
			if plain := now[workload].Plaintext - was.Plaintext; plain > 0 {
				c.plaintext[name] += plain
			}
		}
	}
}

// plain names the workloads that were strict on all ports and have accepted plaintext;
// where there are none, what is not known about those that were.
func (c counted) plain(past *Past) []Finding {
	var findings []Finding
	judged := false
	for _, strict := range past.Baseline.Strict {
		if !strict.All || len(strict.Open) > 0 {
			continue
		}
		judged = true
		if number := c.plaintext[strict.Workload.Name]; number > 0 {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(strict.Workload),
				Message: fmt.Sprintf("ztunnel has let in %s without mTLS since %s, and such callers were refused before", count(int(number), "connection"), past.since()),
				Remedy:  "look for the callers in the access log of its nodes' ztunnels, and at strict-kept",
			})
		}
	}
	if judged && len(findings) == 0 {
		return c.untold()
	}
	return findings
}

// untold is about connections without mTLS that nobody has counted.
func (c counted) untold() []Finding {
	switch {
	case c.nodes == 0:
		return noneCaptured()
	case len(c.unasked) > 0:
		return leftOut(c.unasked, c.nodes)
	case c.told == 0:
		return []Finding{{Status: v1alpha1.StatusSkip, Message: "no ztunnel says what it has let in: " + some(c.unknown)}}
	case len(c.unknown) > 0:
		return []Finding{{
			Status: v1alpha1.StatusPass, Message: "no connection without mTLS is known to have been let in since the enrolment, but not everything was counted: " + some(c.unknown),
		}}
	default:
		return nil
	}
}

// seen says how many connections were.
func (c counted) seen(past *Past) Finding {
	switch {
	case c.total.Inbound+c.total.Outbound > 0:
		return Finding{Status: v1alpha1.StatusPass, Message: fmt.Sprintf("ztunnel has carried %s to and %d from its workloads since %s", count(int(c.total.Inbound), "connection"), c.total.Outbound, past.since())}
	case c.logged.Inbound+c.logged.Outbound > 0:
		return Finding{Status: v1alpha1.StatusPass, Message: fmt.Sprintf("seen in ztunnel's access log since %s: %s to and %d from its workloads", past.since(), count(int(c.logged.Inbound), "connection"), c.logged.Outbound)}
	case len(c.unseen) > 0:
		return Finding{Status: v1alpha1.StatusUnknown, Message: "it is unknown whether there was traffic since the enrolment: " + some(c.unseen), Remedy: "verify again once there was some"}
	case c.nodes == 0:
		return noneCaptured()[0]
	case len(c.unasked) > 0:
		return leftOut(c.unasked, c.nodes)[0]
	default:
		return Finding{Status: v1alpha1.StatusSkip, Message: "none seen: ztunnel has carried no connection of its workloads since " + past.since()}
	}
}
