// Package plugin holds the commands of kubectl ambient: one file each, with
// options that are completed, validated and run.
package plugin

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
)

// displayName is how users call the plugin. It stands here only.
const displayName = "kubectl ambient"

// Environment is what the commands take from their process.
type Environment struct {
	Streams genericiooptions.IOStreams
	// Version is the tool's own.
	Version string
	// Now is the clock.
	Now func() time.Time
	// InTerminal and ErrTerminal say whether somebody can answer a prompt, and
	// whether progress can be drawn in place; OutTerminal whether output can.
	InTerminal, ErrTerminal, OutTerminal bool
	// Changing is called before the first change of a run.
	Changing func()
	// WrapConfig, where set, changes the client configuration before use.
	WrapConfig func(*rest.Config) *rest.Config
}

// NewCommand returns the root command.
func NewCommand(environment Environment) *cobra.Command {
	if environment.Changing == nil {
		environment.Changing = func() {}
	}
	flags := genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(300).WithDiscoveryQPS(50)
	flags.WrapConfigFn = func(config *rest.Config) *rest.Config {
		// As kubectl does: a person waits, and a snapshot is a few dozen
		// requests at once.
		config.QPS, config.Burst = 50, 300
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return heldWriter{patientReader{next}} })
		config.UserAgent = "kubectl-ambient/" + environment.Version
		config.WarningHandler = rest.NewWarningWriter(environment.Streams.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
		if environment.WrapConfig != nil {
			config = environment.WrapConfig(config)
		}
		return config
	}
	root := &cobra.Command{
		Use:   "kubectl-ambient",
		Short: "Move namespaces of an Istio mesh from sidecars to ambient mode, and back",
		Long: `Move namespaces of an Istio mesh from sidecars to ambient mode, and back.

status shows where every namespace stands, plan what stands in the way and what
would change, enroll carries it out step by step, verify asks the data plane
whether it holds, and rollback puts everything back as it was. simplify deletes what
sidecars alone needed. history lists what was done.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: displayName},
		Version:       environment.Version,
		Args:          noArguments,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	root.SetIn(environment.Streams.In)
	root.SetOut(environment.Streams.Out)
	root.SetErr(environment.Streams.ErrOut)
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		return usageError("%w; see '%s --help'", err, command.CommandPath())
	})
	flags.AddFlags(root.PersistentFlags())
	session := &session{Environment: environment, flags: flags}
	root.AddCommand(
		newStatusCommand(session), newPlanCommand(session), newEnrollCommand(session),
		newVerifyCommand(session), newSimplifyCommand(session), newRollbackCommand(session), newHistoryCommand(session), newSnapshotCommand(session),
	)
	return root
}

// noArguments refuses what cobra would ignore: a namespace typed without -n
// must not end in a run on another one.
func noArguments(command *cobra.Command, arguments []string) error {
	if len(arguments) == 0 {
		return nil
	}
	if !command.HasParent() {
		return usageError("unknown command %q; see '%s --help'", arguments[0], command.CommandPath())
	}
	return usageError("superfluous argument %q: name the namespace with -n; see '%s --help'", arguments[0], command.CommandPath())
}
