package plugin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/ztunnel"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// session is a command's access to the cluster that its flags name.
type session struct {
	Environment
	flags *genericclioptions.ConfigFlags

	config *rest.Config
	kube   kubernetes.Interface
	dyn    dynamic.Interface
	meta   metadata.Interface
	reader *ztunnel.Reader
	// answers are what somebody types.
	answers *bufio.Reader
}

// connect makes the clients. It sends no request.
func (s *session) connect() error {
	if err := s.configured(); err != nil {
		return err
	}
	config, err := s.flags.ToRESTConfig()
	if err != nil {
		return s.kubeconfigError(err)
	}
	s.config = config
	if s.kube, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if s.dyn, err = dynamic.NewForConfig(config); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if s.meta, err = metadata.NewForConfig(config); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if s.reader, err = ztunnel.NewReader(config); err != nil {
		return err
	}
	return nil
}

// configured wants a cluster to be named: without one, clients fall back to an
// address on this machine, which is never what was meant.
func (s *session) configured() error {
	loader := s.flags.ToRawKubeConfigLoader()
	raw, err := loader.RawConfig()
	if err != nil {
		return s.kubeconfigError(err)
	}
	if _, err := rest.InClusterConfig(); err == nil || len(raw.Clusters) > 0 || *s.flags.APIServer != "" {
		return nil
	}
	files := loader.ConfigAccess().GetLoadingPrecedence()
	return fmt.Errorf("no cluster is configured in %s: pass --kubeconfig", strings.Join(files, ", "))
}

// namespace is the one that -n or the kubeconfig's context names.
func (s *session) namespace() (string, error) {
	name, _, err := s.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", s.kubeconfigError(err)
	}
	return name, nil
}

func (s *session) kubeconfigError(err error) error {
	return fmt.Errorf("read context %q of the kubeconfig: %w: check --context and --kubeconfig", s.contextName(), err)
}

// namespaceGiven says whether -n was used.
func (s *session) namespaceGiven() bool { return *s.flags.Namespace != "" }

// contextName is the kubeconfig context in use, for people to recognise.
func (s *session) contextName() string {
	if *s.flags.Context != "" {
		return *s.flags.Context
	}
	raw, err := s.flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil || raw.CurrentContext == "" {
		return "(none)"
	}
	return raw.CurrentContext
}

// read reads the mesh with the details of one namespace, or of some more.
func (s *session) read(ctx context.Context, namespace string, also ...string) (mesh.Content, *mesh.Snapshot, error) {
	also = slices.DeleteFunc(slices.Clone(also), func(other string) bool { return other == namespace })
	return s.readCluster(ctx, mesh.Scope{Namespace: namespace, Also: also})
}

// readSharing reads it with the details of the namespaces that share a waypoint with
// those, too, so that calls in them can be compared. Where those may not be read, the
// plan says what was not compared.
func (s *session) readSharing(ctx context.Context, namespace string, also ...string) (mesh.Content, *mesh.Snapshot, error) {
	content, snapshot, err := s.read(ctx, namespace, also...)
	if err != nil {
		return content, snapshot, err
	}
	planned, wider := append([]string{namespace}, also...), also
	for range wideningTries {
		// Others move namespaces at the same time: what came to share a waypoint while the
		// mesh was read has to be read as well.
		sharing := slices.DeleteFunc(plan.Sharing(snapshot, planned), func(name string) bool { return slices.Contains(wider, name) })
		if len(sharing) == 0 {
			break
		}
		wider = slices.Concat(wider, sharing)
		more, whole, err := s.read(ctx, namespace, wider...)
		if err != nil {
			return content, snapshot, err
		}
		for key, coverage := range content.Coverage {
			if coverage.Known() && !more.Coverage[key].Known() {
				return content, snapshot, nil
			}
		}
		content, snapshot = more, whole
	}
	return content, snapshot, nil
}

// wideningTries is how often the mesh is read again because more of it is needed than was
// known before: each time somebody else has to have moved a namespace in between.
const wideningTries = 5

// find returns a namespace of a snapshot, or why it is not there.
func (s *session) find(snapshot *mesh.Snapshot, name string) (mesh.Namespace, error) {
	namespace, found := snapshot.Namespace(name)
	if found {
		return namespace, nil
	}
	if coverage := snapshot.Coverage(mesh.KindNamespace, name); !coverage.Known() {
		return namespace, fmt.Errorf("namespace %s cannot be read: %s: ask for permission to list namespaces", name, coverage.Reason)
	}
	return namespace, fmt.Errorf("namespace %s does not exist in the cluster of context %s: name another with -n", name, s.contextName())
}

// evidence asks the ztunnels of nodes.
func (s *session) evidence(ctx context.Context, nodes []string) (*mesh.Evidence, error) {
	return s.reader.Collect(ctx, nodes)
}

func (s *session) writer() (actions.Writer, error) {
	mapper, err := s.flags.ToRESTMapper()
	if err != nil {
		return actions.Writer{}, s.explain(err)
	}
	return actions.Writer{Dynamic: s.dyn, Mapper: mapper}, nil
}

// unreachableError says in words of its own that a cluster cannot be reached. It is
// still the error that it is about, by which others tell whether to try again.
type unreachableError struct {
	text string
	err  error
}

func (e *unreachableError) Error() string { return e.text }

func (e *unreachableError) Unwrap() error { return e.err }

// explain turns the errors that mean "this is not the cluster you think of"
// into a sentence with a remedy.
func (s *session) explain(err error) error {
	var network *net.OpError
	var address *url.Error
	switch {
	case errors.Is(err, context.Canceled), outOfTime(err):
		return err
	case errors.As(err, &network), errors.As(err, &address):
		var cause error = network
		if network == nil {
			cause = address.Err
		}
		return &unreachableError{
			text: fmt.Sprintf("the cluster of context %s cannot be reached at %s: %v: check --context and --kubeconfig", s.contextName(), s.config.Host, cause), err: err,
		}
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the cluster of context %s does not accept your credentials: log in again: %w", s.contextName(), err)
	default:
		return err
	}
}
