package plugin

import (
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/spf13/cobra"
)

// object is what of a namespace a command is about, where it is not about all of it.
type object struct {
	// workload is the only one that is moved, service the only Service that gets a
	// waypoint, as plans name them; empty for all.
	workload, service string
}

// given is a flag and whether it was given.
type given struct {
	name string
	set  bool
}

// mostOneObject takes the name of a workload or a Service. A namespace typed without -n
// must not end in a run on another one.
func mostOneObject(command *cobra.Command, arguments []string) error {
	if len(arguments) == 1 && strings.Contains(arguments[0], "/") {
		return nil
	}
	return noArguments(command, arguments)
}

// complete reads the object from what was typed. Whole are flags that are for a whole
// namespace.
func (o *object) complete(command *cobra.Command, arguments []string, whole []given) (err error) {
	if len(arguments) == 0 {
		return nil
	}
	service, is, err := plan.ServiceNamed(arguments[0])
	if o.service = service; !is {
		o.workload, err = plan.WorkloadNamed(arguments[0])
	}
	if err != nil {
		return usageError("%w", err)
	}
	if is {
		for _, name := range []string{flagScope, flagSkip, flagAdd, flagInclude, flagCordon, flagResumePaused, flagSimplify} {
			if command.Flags().Changed(name) {
				return usageError("--%s cannot be given with %s: nothing else of the namespace is touched", name, o.service)
			}
		}
	}
	for _, flag := range whole {
		if flag.set {
			return usageError("--%s cannot be given with %s: it is for what a whole run does", flag.name, o.workload+o.service)
		}
	}
	return nil
}
