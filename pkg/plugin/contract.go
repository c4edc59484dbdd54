package plugin

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// contract is a plan that somebody has reviewed and that is to be carried out just
// so.
type contract struct {
	file     string
	reviewed v1alpha1.MigrationPlan
}

func (c *contract) addFlag(command *cobra.Command) {
	command.Flags().StringVar(&c.file, flagPlan, "",
		"Carry out exactly the plan in this `FILE`, or - for stdin, which plan -o yaml or -o json wrote; nothing is done where what it touches has changed since")
}

// read reads the plan. The namespace at hand is the plan's from then on, which has
// to be the one that was named, if any was.
func (c *contract) read(session *session) error {
	if c.file == "" {
		return nil
	}
	data, err := c.content(session)
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	if err := yaml.UnmarshalStrict(data, &c.reviewed); err != nil {
		return fmt.Errorf("read the plan in %s: %w", c.file, err)
	}
	if err := plan.Contract(c.reviewed); err != nil {
		return fmt.Errorf("the plan in %s cannot be carried out: %w", c.file, err)
	}
	if session.namespaceGiven() && *session.flags.Namespace != c.reviewed.Namespace {
		return usageError("the plan in %s is for namespace %s, and -n names %s", c.file, c.reviewed.Namespace, *session.flags.Namespace)
	}
	*session.flags.Namespace = c.reviewed.Namespace
	return nil
}

func (c *contract) content(session *session) ([]byte, error) {
	if c.file == "-" {
		return io.ReadAll(session.Streams.In)
	}
	return os.ReadFile(c.file)
}

// holds compares the plan with one made now, with its objects. What has changed is
// shown, and blocks.
func (c *contract) holds(session *session, now v1alpha1.MigrationPlan) error {
	if c.file == "" || now.Blocked {
		// What blocks is shown as for every plan.
		return nil
	}
	departures := plan.Departures(c.reviewed, now)
	if len(departures) == 0 {
		return nil
	}
	var diffs []render.ObjectDiff
	for _, departure := range departures {
		if departure.After != nil {
			diffs = append(diffs, render.ObjectDiff{Name: departure.Object.String(), Before: departure.Before, After: departure.After})
		}
	}
	if err := render.Departures(session.Streams.ErrOut, diffs); err != nil {
		return err
	}
	return blockedError("the plan in %s cannot be carried out any more, and nothing was done: %s: plan again, and review that", c.file, describeDepartures(departures))
}

// mostDepartures is how many departures one line names.
const mostDepartures = 3

func describeDepartures(departures []plan.Departure) string {
	var texts []string
	for i, departure := range departures {
		if i == mostDepartures {
			texts = append(texts, fmt.Sprintf("and %d more", len(departures)-i))
			break
		}
		text := departure.Message
		if departure.Object.Name != "" {
			text = departure.Object.String() + ": " + text
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}
