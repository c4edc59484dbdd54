package ztunnel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// previousSuffix is of the log of the process before, as the kubelet keeps one.
const previousSuffix = ".previous"

// PreviousLog is where the log of the process before is, of one that has its own at path.
func PreviousLog(path string) string { return path + previousSuffix }

// containerLog is what ztunnel's process writes, in a file as the container runtime keeps
// it for the kubelet: each line behind its time, its stream, and that it is whole (the
// log format of the CRI).
type containerLog struct {
	mutex sync.Mutex
	path  string
	file  *os.File
}

// begin starts the log of a new process. What one before has written is the previous log.
func (l *containerLog) begin() error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.file != nil {
		_ = l.file.Close()
	}
	if err := os.Rename(l.path, PreviousLog(l.path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var err error
	l.file, err = os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	return err
}

func (l *containerLog) write(at time.Time, line string) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	_, err := fmt.Fprintf(l.file, "%s stdout F %s\n", at.Format(time.RFC3339Nano), line)
	return err
}

func (l *containerLog) close() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	_ = l.file.Close()
}

// field is one of an event that ztunnel logs.
type field struct {
	name  string
	value any
}

// bare is text that ztunnel does not quote: addresses.
type bare string

// event is a line of ztunnel's log, in either of its formats (its src/telemetry.rs,
// IstioFormat and IstioJsonFormat).
type event struct {
	at                    time.Time
	level, scope, message string
	fields                []field
}

const timeOfLog = "2006-01-02T15:04:05.000000Z"

func (e event) plain() string {
	var fields []string
	for _, of := range e.fields {
		if text, quoted := of.value.(string); quoted {
			fields = append(fields, fmt.Sprintf("%s=%q", of.name, text))
		} else {
			fields = append(fields, fmt.Sprintf("%s=%v", of.name, of.value))
		}
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", e.at.Format(timeOfLog), e.level, e.scope, e.message, strings.Join(fields, " "))
}

// json has the fields in the order in which they were given, as ztunnel.
func (e event) json() (string, error) {
	var text strings.Builder
	all := append([]field{{"level", e.level}, {"time", e.at.Format(timeOfLog)}, {"scope", e.scope}, {"message", e.message}}, e.fields...)
	for i, of := range all {
		value, err := json.Marshal(of.value)
		if err != nil {
			return "", fmt.Errorf("logging %s: %w", of.name, err)
		}
		text.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		fmt.Fprintf(&text, "%q:%s", of.name, value)
	}
	return text.String() + "}", nil
}

// record writes an event to the log of the container.
func (i *Instance) record(of event) {
	of.at = time.Now().UTC()
	line := of.plain()
	if i.environment["LOG_FORMAT"] == "json" {
		var err error
		if line, err = of.json(); err != nil {
			i.logf("%v", err)
			return
		}
	}
	if err := i.containerLog.write(of.at, line); err != nil {
		i.logf("writing the log of the container: %v", err)
	}
}

// begin is what a process of ztunnel starts with (its src/main.rs).
func (i *Instance) begin() error {
	if err := i.containerLog.begin(); err != nil {
		return fmt.Errorf("opening the log of the container: %w", err)
	}
	i.record(event{level: "info", scope: "ztunnel", message: fmt.Sprintf("version: %s", i.version.Version)})
	return nil
}

// Restart has another process take the place of this one in the container: it has
// counted nothing, and the log of the one before is the previous log. What a new process
// asks istiod for again is what the old one knew.
func (i *Instance) Restart() error {
	i.connections.forget()
	return i.begin()
}

// accessLogged writes the line that ztunnel's access log has of a connection that has
// ended well (its src/proxy/metrics.rs).
func (i *Instance) accessLogged(of Connection) {
	source, destination := i.end(of.SourceNamespace, of.SourceWorkload), i.end(of.DestinationNamespace, of.DestinationWorkload)
	var fields []field
	fields = append(fields, field{"src.addr", bare(source.address + ":40000")})
	fields = append(fields, source.fields("src", of.Security)...)
	if of.Security == mutualTLS {
		fields = append(fields, field{"dst.addr", bare(destination.address + ":15008")}, field{"dst.hbone_addr", bare(destination.address + ":80")})
	} else {
		fields = append(fields, field{"dst.addr", bare(destination.address + ":80")})
	}
	fields = append(fields, destination.fields("dst", of.Security)...)
	direction := "inbound"
	if of.Reporter == "source" {
		direction = "outbound"
	}
	fields = append(fields, field{"direction", direction}, field{"bytes_sent", 84}, field{"bytes_recv", 162}, field{"duration", "3ms"})
	i.record(event{level: "info", scope: "access", message: "connection complete", fields: fields})
}

// mutualTLS is the security of connections whose ends' identities ztunnel knows.
const mutualTLS = "mutual_tls"

// logged is an end of a connection as the access log describes it; empty but for its
// address where ztunnel does not know it.
type logged struct{ address, pod, namespace, identity string }

// end finds a pod of a workload among those that istiod has told of.
func (i *Instance) end(namespace, workload string) logged {
	for _, of := range i.Workloads() {
		if of.Namespace == namespace && of.WorkloadName == workload && len(of.WorkloadIPs) > 0 {
			return logged{of.WorkloadIPs[0], of.Name, namespace, of.Identity()}
		}
	}
	return logged{address: "192.0.2.1", pod: workload, namespace: namespace}
}

func (l logged) fields(end, security string) []field {
	var fields []field
	for _, of := range []field{{"workload", l.pod}, {"namespace", l.namespace}, {"identity", l.identity}} {
		if of.value == "" || of.name == "identity" && security != mutualTLS {
			continue
		}
		fields = append(fields, field{end + "." + of.name, of.value})
	}
	return fields
}
