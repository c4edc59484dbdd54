package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/plugin"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/util/flowcontrol"
)

func TestExitStatus(t *testing.T) {
	incomplete := &plugin.ExitError{Status: plugin.StatusIncomplete, Err: context.Canceled}
	// A limiter that has nothing left says at once that the wait would be too long.
	limiter := flowcontrol.NewTokenBucketRateLimiter(0.001, 1)
	short, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	late := errors.Join(limiter.Wait(short), limiter.Wait(short))
	if late == nil || short.Err() != nil {
		t.Fatalf("the limiter says %v", late)
	}
	tests := []struct {
		name string
		err  error
		want int
	}{
		{"done", nil, 0},
		{"an error", errors.New("broken"), 1},
		{"usage", &plugin.ExitError{Status: plugin.StatusUsage, Err: errors.New("what?")}, 2},
		{"blocked", fmt.Errorf("plan: %w", &plugin.ExitError{Status: plugin.StatusBlocked, Err: errors.New("no")}), 3},
		{"something was changed, whatever the cause", incomplete, 4},
		{"something was changed, and the record could not be written", errors.Join(errors.New("broken"), incomplete), 4},
		{"timed out", context.DeadlineExceeded, 124},
		{"timed out on the way", fmt.Errorf("list Pod: %w", context.DeadlineExceeded), 124},
		{"about to time out", fmt.Errorf("list Pod: %w", late), 124},
		{"interrupted", fmt.Errorf("list Pod: %w", context.Canceled), 130},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := plugin.ExitStatus(test.err); got != test.want {
				t.Errorf("the status is %d, want %d", got, test.want)
			}
		})
	}
	if text := incomplete.Error(); text != "context canceled" || !errors.Is(incomplete, context.Canceled) {
		t.Errorf("the error says %q", text)
	}
}

// kubeconfig points the commands at an address, and at no other cluster.
func kubeconfig(t *testing.T, address string) {
	t.Helper()
	home := t.TempDir()
	path := filepath.Join(home, "config")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test, namespace: shop}}]
clusters: [{name: test, cluster: {server: "http://%s"}}]
users: [{name: test, user: {}}]
`, address)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("KUBECONFIG", path)
}

type outcome struct {
	status      int
	err         error
	out, errOut string
}

// run runs a command line as the process would.
func run(ctx context.Context, arguments ...string) outcome {
	var out, errOut bytes.Buffer
	command := plugin.NewCommand(plugin.Environment{
		Streams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}, Version: "v0.0.0-test", Now: time.Now,
	})
	// Given none, the command would take those of the test.
	command.SetArgs(append([]string{}, arguments...))
	err := command.ExecuteContext(ctx)
	return outcome{plugin.ExitStatus(err), err, out.String(), errOut.String()}
}

// closedPort is an address of the loopback that nobody listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

func TestUsageErrors(t *testing.T) {
	kubeconfig(t, closedPort(t))
	tests := []struct {
		arguments string
		want      string
	}{
		{"status shop", `superfluous argument "shop": name the namespace with -n; see 'kubectl ambient status --help'`},
		{"plan shop", `superfluous argument "shop"`},
		{"verify shop", `superfluous argument "shop"`},
		{"verify --accept=ztunnel-current", `there is no check "ztunnel-current" to accept: docs/checks.md lists them`},
		{"enroll shop --yes", `superfluous argument "shop"`},
		{"rollback shop --yes", `superfluous argument "shop"`},
		{"migrate", `unknown command "migrate"; see 'kubectl ambient --help'`},
		{"migrate -n shop", `unknown command "migrate"`},
		{"status --everything", "unknown flag: --everything; see 'kubectl ambient status --help'"},
		{"--everything", "unknown flag: --everything; see 'kubectl ambient --help'"},
		{"status -z", "unknown shorthand flag"},
		{"enroll --timeout=soon --yes", "invalid argument"},
		{"status -n", "flag needs an argument"},
		{"status -o tall", `unknown output format "tall": use wide, name, json or yaml`},
		{"verify -o wide", `unknown output format "wide": use junit, json or yaml`},
		{"status --skip nothing", `there is no check and no category of checks "nothing"`},
		{"plan svc/", `"svc/" names no Service`},
		{"plan deployment/web --until=verify", "--until cannot be given with deployment/web: it is for what a whole run does"},
		{"plan svc/web --from=pin", "--from cannot be given with service/web"},
		{"plan svc/web --waypoint-add=cart", "--waypoint-add cannot be given with service/web: nothing else of the namespace is touched"},
		{"plan --checks nothing", `there is no check and no category of checks "nothing"`},
		{"plan --fail-on never", `unknown value "never" of --fail-on: use error or warning`},
		{"plan --from somewhere", `unknown phase "somewhere": use one of refresh-sidecars, deploy-waypoints, migrate-policies, pin, activate-waypoints, enable-ambient, restart-workloads, settle-policies, disable-injection, verify`},
		{"plan --from verify --until pin", "phase verify comes after phase pin"},
		{"plan --assume-complete", "--assume-complete says something about the files of -f, and there are none"},
		{"status --watch -o json", "--watch shows a cluster to people"},
		{"status --watch -f mesh.yaml", "--watch shows a cluster to people"},
		{"status -l ((", "--selector: "},
		{"status --waypoint-add=cart", "--waypoint-skip and --waypoint-add name Services of one namespace: name it with -n"},
		{"plan --waypoint-scope=cluster", `unknown waypoint scope "cluster": use service or namespace`},
		{"enroll --yes --mixed-callers=allow", `unknown choice "allow" for mixed callers: use block, deny or l4`},
		{"plan --waypoint-add=cart --waypoint-skip=cart", "decide for one"},
		{"enroll --yes --waypoint-replicas=-1", "cannot have -1 replicas"},
		{"plan --accept=calls", `there is no check "calls" to accept`},
		{"enroll --yes --accept=:shop/cart", `there is no check "" to accept`},
		{"status --accept=restartable", "unknown flag: --accept"},
		{"rollback --yes --mixed-callers=deny", "unknown flag: --mixed-callers"},
		{"rollback --yes --to=lunch", `--to: unknown phase "lunch"`},
		{"rollback --yes --to=pin --run=one", "--run cannot be given with --to"},
		{"enroll --yes cart/web/x", `"cart/web/x" is no workload that can be moved alone: name a deployment/NAME`},
		{"enroll --yes job/web", `"job/web" is no workload that can be moved alone`},
		{"enroll --yes deploy/", `"deploy/" is no workload`},
		{"enroll --yes deploy/web sts/db", `superfluous argument "deploy/web"`},
		{"enroll --yes deploy/web --resume", "--resume cannot be given with deployment/web"},
		{"enroll --yes ds/web --until=pin", "--until cannot be given with daemonset/web"},
		{"enroll --yes sts/web --plan=file", "--plan cannot be given with statefulset/web"},
		{"rollback --yes deploy/web", `"deploy/web" is nothing that can be rolled back alone: name a service/NAME`},
		{"rollback --yes web", `superfluous argument "web"`},
		{"rollback --yes svc/", `"svc/" names no Service`},
		{"rollback --yes svc/web --to=pin", "--run and --to cannot be given with service/web"},
		{"rollback --yes svc/web --without-record", "--without-record cannot be given with service/web"},
		{"enroll --yes svc/a/b", `"svc/a/b" names no Service`},
		{"enroll --yes svc/web --until=pin", "--until cannot be given with service/web"},
		{"enroll --yes svc/web --waypoint-add=cart", "--waypoint-add cannot be given with service/web: nothing else of the namespace is touched"},
		{"rollback --yes --revision=default", "--revision is for --without-record"},
		{"rollback --yes --without-record --to=pin", "--without-record cannot be given with --run or --to"},
		{"rollback --yes --without-record --run=one", "--without-record cannot be given with --run or --to"},
		{"rollback --dry-run=client --backup-dir=somewhere", "--backup-dir cannot be given with --dry-run"},
		{"enroll --dry-run=server --backup-dir=somewhere", "--backup-dir cannot be given with --dry-run"},
		{"snapshot -o wide", `unknown output format "wide": use json or yaml`},
		{"plan -o name", `unknown output format "name"`},
		{"verify -o JSON", `unknown output format "JSON"`},
		{"enroll --yes -o table", `unknown output format "table"`},
		{"rollback --yes -o table", `unknown output format "table"`},
		{"enroll", "stdin is not a terminal: pass --yes"},
		{"rollback", "stdin is not a terminal: pass --yes"},
		{"enroll --dry-run=perhaps", "perhaps"},
		{"enroll --yes --timeout=-1s", "cannot be negative"},
		{"rollback --yes --gate-timeout=-1s", "cannot be negative"},
	}
	for _, test := range tests {
		t.Run(test.arguments, func(t *testing.T) {
			got := run(t.Context(), strings.Fields(test.arguments)...)
			if got.status != plugin.StatusUsage {
				t.Errorf("the status is %d", got.status)
			}
			if got.err == nil || !strings.Contains(got.err.Error(), test.want) || strings.Contains(got.err.Error(), "\n") {
				t.Errorf("the error is %v", got.err)
			}
			if got.out != "" || got.errOut != "" {
				t.Errorf("it writes %q and %q", got.out, got.errOut)
			}
		})
	}
}

func TestHelpIsNoError(t *testing.T) {
	for _, arguments := range [][]string{nil, {"--help"}, {"help"}, {"enroll", "--help"}, {"help", "rollback"}} {
		got := run(t.Context(), arguments...)
		if got.status != 0 || !strings.Contains(got.out, "kubectl ambient") {
			t.Errorf("%v: the status is %d, it writes %q", arguments, got.status, got.out)
		}
	}
	if got := run(t.Context(), "--version"); got.status != 0 || !strings.Contains(got.out, "v0.0.0-test") {
		t.Errorf("the version is %q", got.out)
	}
}

var commands = []string{"status", "plan", "verify", "enroll --yes", "enroll --dry-run=client", "enroll --dry-run=server", "rollback --yes"}

func TestAClusterThatCannotBeReached(t *testing.T) {
	address := closedPort(t)
	kubeconfig(t, address)
	for _, command := range commands {
		t.Run(command, func(t *testing.T) {
			got := run(t.Context(), strings.Fields(command)...)
			if got.status != plugin.StatusError {
				t.Errorf("the status is %d", got.status)
			}
			text := fmt.Sprint(got.err)
			for _, want := range []string{"context test", "http://" + address, "connection refused", "--context"} {
				if !strings.Contains(text, want) {
					t.Errorf("the error does not say %q: %s", want, text)
				}
			}
			if strings.Contains(text, "\n") {
				t.Errorf("the error has several lines: %q", text)
			}
			if got.out != "" {
				t.Errorf("it writes %q", got.out)
			}
		})
	}
}

func TestAContextThatDoesNotExist(t *testing.T) {
	kubeconfig(t, closedPort(t))
	for _, command := range commands {
		got := run(t.Context(), append(strings.Fields(command), "--context=none")...)
		if got.status != plugin.StatusError || !strings.Contains(fmt.Sprint(got.err), "none") {
			t.Errorf("%s: the status is %d, the error %v", command, got.status, got.err)
		}
	}
}

func TestCredentialsThatAreNotAccepted(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`))
	}))
	defer server.Close()
	kubeconfig(t, server.Listener.Addr().String())
	for _, command := range commands {
		got := run(t.Context(), strings.Fields(command)...)
		if got.status != plugin.StatusError || !strings.Contains(fmt.Sprint(got.err), "context test does not accept your credentials") {
			t.Errorf("%s: the status is %d, the error %v", command, got.status, got.err)
		}
	}
}

// hanging is an API server that accepts requests and answers none but those for
// the paths given.
func hanging(t *testing.T, answered ...string) (address string, release func()) {
	t.Helper()
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if slices.Contains(answered, request.URL.Path) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"major":"1","minor":"36","gitVersion":"v1.36.3"}`))
			return
		}
		<-done
	}))
	released := false
	release = func() {
		if !released {
			released = true
			close(done)
			server.CloseClientConnections()
		}
	}
	t.Cleanup(func() {
		release()
		server.Close()
	})
	return server.Listener.Addr().String(), release
}

// within runs a command that must end by itself. Where it does not, the server
// is released so that it can.
func within(t *testing.T, ctx context.Context, release func(), arguments ...string) outcome {
	t.Helper()
	ended := make(chan outcome, 1)
	go func() { ended <- run(ctx, arguments...) }()
	select {
	case got := <-ended:
		return got
	case <-time.After(2 * time.Second):
		t.Error("it does not end while the API server does not answer")
		release()
		return <-ended
	}
}

func TestAnAPIServerThatDoesNotAnswerInTime(t *testing.T) {
	for _, command := range []string{"enroll --yes --timeout=100ms", "rollback --yes --timeout=100ms"} {
		t.Run(command, func(t *testing.T) {
			address, release := hanging(t)
			kubeconfig(t, address)
			got := within(t, t.Context(), release, strings.Fields(command)...)
			if got.status != plugin.StatusTimeout {
				t.Errorf("the status is %d: %v", got.status, got.err)
			}
		})
	}
}

// Finding out which kinds are served is a request like any other.
func TestAnAPIServerThatStopsAnswering(t *testing.T) {
	address, release := hanging(t, "/version")
	kubeconfig(t, address)
	got := within(t, t.Context(), release, "enroll", "--yes", "--timeout=100ms")
	if got.status != plugin.StatusTimeout {
		t.Errorf("the status is %d: %v", got.status, got.err)
	}
}

func TestInterruptingACommandWhileTheAPIServerDoesNotAnswer(t *testing.T) {
	for _, command := range []string{"status", "enroll --yes"} {
		t.Run(command, func(t *testing.T) {
			address, release := hanging(t)
			kubeconfig(t, address)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			got := within(t, ctx, release, strings.Fields(command)...)
			if got.status != plugin.StatusInterrupted {
				t.Errorf("the status is %d: %v", got.status, got.err)
			}
		})
	}
}

// kubectl's own flag bounds a single request of every command.
func TestRequestTimeout(t *testing.T) {
	address, release := hanging(t)
	kubeconfig(t, address)
	got := within(t, t.Context(), release, "status", "--request-timeout=100ms")
	if got.status != plugin.StatusTimeout && got.status != plugin.StatusError {
		t.Errorf("the status is %d", got.status)
	}
	if got.err == nil || strings.Contains(got.err.Error(), "\n") {
		t.Errorf("the error is %v", got.err)
	}
}
