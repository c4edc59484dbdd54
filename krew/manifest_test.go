// Package krew_test checks the plugin's manifest against what krew wants of one:
// its index refuses a manifest that breaks these rules.
package krew_test

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type manifest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string `json:"version"`
		Homepage         string `json:"homepage"`
		ShortDescription string `json:"shortDescription"`
		Description      string `json:"description"`
		Caveats          string `json:"caveats"`
		Platforms        []struct {
			Selector struct {
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"selector"`
			URI    string `json:"uri"`
			SHA256 string `json:"sha256"`
			Bin    string `json:"bin"`
		} `json:"platforms"`
	} `json:"spec"`
}

func TestManifest(t *testing.T) {
	data, err := os.ReadFile("ambient.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := yaml.UnmarshalStrict(data, &m); err != nil {
		t.Fatal(err)
	}
	if m.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || m.Kind != "Plugin" || m.Metadata.Name != "ambient" {
		t.Errorf("it is a %s %s named %s", m.APIVersion, m.Kind, m.Metadata.Name)
	}
	if length := len(m.Spec.ShortDescription); length == 0 || length > 50 {
		t.Errorf("the short description has %d characters", length)
	}
	for line := range strings.Lines(m.Spec.Description + m.Spec.Caveats) {
		if len(line) > 81 {
			t.Errorf("a line is longer than 80 columns: %q", line)
		}
	}
	seen := map[string]bool{}
	for _, platform := range m.Spec.Platforms {
		name := platform.Selector.MatchLabels["os"] + "_" + platform.Selector.MatchLabels["arch"]
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
		if want := "@SHA256_" + name + "@"; platform.SHA256 != want {
			t.Errorf("%s: the checksum is %q, to be filled in for %q", name, platform.SHA256, want)
		}
		if !strings.HasSuffix(platform.URI, "/@VERSION@/kubectl-ambient_@VERSION@_"+name+".tar.gz") {
			t.Errorf("%s: the address is %s", name, platform.URI)
		}
		want := "kubectl-ambient"
		if strings.HasPrefix(name, "windows") {
			want += ".exe"
		}
		if platform.Bin != want {
			t.Errorf("%s: the binary is %s", name, platform.Bin)
		}
	}
	for _, name := range []string{"linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64", "windows_amd64", "windows_arm64"} {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
}
