package plugin

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

func TestProbeOptions(t *testing.T) {
	const image = "registry.example/probe@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	good := probeOptions{probe: true, image: image, timeout: time.Minute, accounts: []string{"default"}}
	for _, test := range []struct {
		name   string
		change func(*verifyOptions)
		want   string
	}{
		{"as it should be", func(*verifyOptions) {}, ""},
		{"no image", func(o *verifyOptions) { o.probe.image = "" }, "published"},
		{"by tag", func(o *verifyOptions) { o.probe.image = "registry.example/probe:latest" }, "digest"},
		{"a short digest", func(o *verifyOptions) { o.probe.image = "registry.example/probe@sha256:0123" }, "digest"},
		{"not a digest", func(o *verifyOptions) { o.probe.image = strings.Replace(image, "0", "x", 1) }, "digest"},
		{"both", func(o *verifyOptions) { o.probe.canary = true }, "use one of them"},
		{"again and again", func(o *verifyOptions) { o.watch = true }, "--watch"},
		{"no time", func(o *verifyOptions) { o.probe.timeout = 0 }, "less than a second"},
		{"nobody", func(o *verifyOptions) { o.probe.accounts = []string{""} }, "--probe-service-account"},
		{"a canary in a namespace", func(o *verifyOptions) { o.probe.probe, o.probe.canary = false, true }, "of its own"},
		{"unused", func(o *verifyOptions) { o.probe = probeOptions{} }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := &verifyOptions{namespaced: options(t, nil, io.Discard, io.Discard).namespaced, probe: good}
			test.change(o)
			err := o.probe.validate(o)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || ExitStatus(err) != StatusUsage || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
		})
	}
}

// A probe that is interrupted when its calls are over, and before what it made is removed,
// is none that has held.
func TestProbeThatIsInterruptedAtItsEnd(t *testing.T) {
	o := &verifyOptions{namespaced: options(t, nil, io.Discard, io.Discard).namespaced}
	ctx, cancel := context.WithCancel(t.Context())
	reports, err := o.probed(ctx, reporting(false), func(context.Context, string) (checks.Subject, error) {
		cancel()
		return checks.Subject{}, nil
	})
	if ExitStatus(err) != StatusInterrupted || reports != nil {
		t.Errorf("exit status %d, %+v, %v", ExitStatus(err), reports, err)
	}
}
