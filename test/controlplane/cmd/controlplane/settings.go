package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
)

// settings are what the flags say.
type settings struct {
	name  string
	istio string
	nodes int
}

// profiles are the values of --istio and what is installed for them.
var profiles = map[string]string{
	"ambient": controlplane.ProfileAmbient,
	"sidecar": controlplane.ProfileDefault,
	"none":    "",
}

func newFlags(command string) *flag.FlagSet {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(os.Stderr)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	return flags
}

func parseName(command string, arguments []string) (string, error) {
	flags := newFlags(command)
	name := flags.String("name", "default", "")
	if err := flags.Parse(arguments); err != nil {
		return "", err
	}
	return *name, checkName(*name)
}

func parseSettings(command string, arguments []string) (settings, error) {
	flags := newFlags(command)
	var parsed settings
	flags.StringVar(&parsed.name, "name", "default", "")
	flags.StringVar(&parsed.istio, "istio", "ambient", "")
	flags.IntVar(&parsed.nodes, "nodes", 3, "")
	if err := flags.Parse(arguments); err != nil {
		return settings{}, err
	}
	if _, known := profiles[parsed.istio]; !known {
		return settings{}, fmt.Errorf("--istio %s is none of ambient, sidecar and none", parsed.istio)
	}
	if parsed.nodes < 1 {
		return settings{}, fmt.Errorf("--nodes %d is less than one", parsed.nodes)
	}
	return parsed, checkName(parsed.name)
}

// checkName keeps names from leaving the directory of all instances.
func checkName(name string) error {
	if name == "" || strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".") {
		return fmt.Errorf("--name %q cannot be the name of a directory", name)
	}
	return nil
}

// arguments are the flags that parse to these settings.
func (s settings) arguments() []string {
	return []string{"--name", s.name, "--istio", s.istio, "--nodes", fmt.Sprint(s.nodes)}
}
