package ztunnel

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
)

// Connection is what ztunnel counts connections by: those of its labels that tell
// who called whom, and how (its src/proxy/metrics.rs).
type Connection struct {
	// Reporter is source or destination: each end counts.
	Reporter                                  string
	SourceNamespace, SourceWorkload           string
	DestinationNamespace, DestinationWorkload string
	// Security is mutual_tls or unknown.
	Security string
}

// connections counts those that a test says were opened.
type connections struct {
	mutex  sync.Mutex
	opened map[Connection]int
}

func (c *connections) open(connection Connection, times int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.opened == nil {
		c.opened = map[Connection]int{}
	}
	c.opened[connection] += times
}

// forget is for a process that takes the place of the one that has counted.
func (c *connections) forget() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.opened = nil
}

// write writes the counts as ztunnel does, in the text of OpenMetrics, whose types
// are named without the suffix of counters.
func (c *connections) write(out io.Writer) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	fmt.Fprint(out, "# HELP istio_tcp_connections_opened The total number of TCP connections opened.\n# TYPE istio_tcp_connections_opened counter\n")
	lines := map[string]bool{}
	for of, count := range c.opened {
		lines[fmt.Sprintf("istio_tcp_connections_opened_total{reporter=%q,source_workload=%q,source_workload_namespace=%q,destination_workload=%q,"+
			"destination_workload_namespace=%q,connection_security_policy=%q,response_flags=\"-\"} %d\n",
			of.Reporter, of.SourceWorkload, of.SourceNamespace, of.DestinationWorkload, of.DestinationNamespace, of.Security, count)] = true
	}
	for _, line := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprint(out, line)
	}
	fmt.Fprint(out, "# EOF\n")
}

// Open counts connections as carried, and logs that they have ended.
func (i *Instance) Open(connection Connection, times int) {
	i.connections.open(connection, times)
	for range times {
		i.accessLogged(connection)
	}
}

func (i *Instance) serveMetrics(response http.ResponseWriter, _ *http.Request) {
	response.Header().Set("Content-Type", "application/openmetrics-text;charset=utf-8;version=1.0.0")
	i.connections.write(response)
}
