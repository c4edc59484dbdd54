package plugin

import (
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"github.com/spf13/cobra"
)

// output is the -o flag.
type output struct {
	text   string
	format render.Format
	// too are the formats besides json and yaml.
	too []render.Format
}

func (o *output) addFlag(command *cobra.Command) {
	names := "json or yaml"
	if len(o.too) > 0 {
		var words []string
		for _, format := range o.too {
			words = append(words, string(format))
		}
		names = strings.Join(words, ", ") + ", " + names
	}
	command.Flags().StringVarP(&o.text, "output", "o", "", "Output format: "+names)
}

func (o *output) complete() error {
	format, err := render.ParseFormat(o.text, o.too...)
	if err != nil {
		return usageError("%w", err)
	}
	o.format = format
	return nil
}

// human says whether people are to read the output.
func (o *output) human() bool { return o.format == render.FormatHuman || o.format == render.FormatWide }

// namespaced are the options of a command that is about one namespace.
type namespaced struct {
	*session
	output output
	// name is the namespace that -n or the kubeconfig's context names.
	name string
}

// complete reads the flags and makes the clients. It sends no request.
func (n *namespaced) complete() (err error) {
	if err := n.output.complete(); err != nil {
		return err
	}
	if n.name, err = n.namespace(); err != nil {
		return err
	}
	return n.connect()
}
