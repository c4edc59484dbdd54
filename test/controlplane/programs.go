package controlplane

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// The versions that are linked into the programs. Clients parse them: istioctl
// compares the version of Kubernetes, istiod's images and status carry Istio's.
const (
	kubernetesVersion = "v1.36.3"
	istioVersion      = "1.31.1"
)

// linkFlags are the flags of the linker for all programs.
var linkFlags = strings.Join([]string{
	"-s", "-w",
	"-X", "k8s.io/component-base/version.gitVersion=" + kubernetesVersion,
	"-X", "k8s.io/component-base/version.gitMajor=1",
	"-X", "k8s.io/component-base/version.gitMinor=36",
	"-X", "istio.io/istio/pkg/version.buildVersion=" + istioVersion,
}, " ")

// program is one of the programs and the package that it is built from.
type program struct {
	name       string
	importPath string
}

// set is what is built from one module, whose directory lies beside this file.
type set struct {
	directory string
	programs  []program
	manifests []manifest
}

// controlPlane is what every control plane runs and applies.
var controlPlane = set{"programs", []program{
	{"etcd", "go.etcd.io/etcd/server/v3"},
	{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"},
	{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"},
	{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"},
	{"kubectl", "k8s.io/kubernetes/cmd/kubectl"},
	{"kwok", "sigs.k8s.io/kwok/cmd/kwok"},
	{"istiod", "istio.io/istio/pilot/cmd/pilot-discovery"},
	{"istioctl", "istio.io/istio/istioctl/cmd/istioctl"},
}, []manifest{
	{"gateway-api", "sigs.k8s.io/gateway-api", "config/crd/standard/*.yaml"},
	{"kwok", "sigs.k8s.io/kwok", "kustomize/crd/bases/kwok.x-k8s.io_[lp]o*s.yaml"},
}}

// measuring is what a control plane runs besides that serves the metrics API.
var measuring = set{"metricsserver", []program{{metricsServer, "sigs.k8s.io/metrics-server/cmd/metrics-server"}}, nil}

// rollingOut is what a control plane runs besides that moves Rollouts, and the types that
// it needs.
var rollingOut = set{"argorollouts", []program{{rolloutsController, "github.com/argoproj/argo-rollouts/cmd/rollouts-controller"}}, []manifest{
	{"crds", "github.com/argoproj/argo-rollouts", "manifests/crds/*-crd.yaml"},
}}

// manifest is a directory of a module whose files a control plane applies when it
// starts, by the name of the directory that holds their copies.
type manifest struct{ name, module, glob string }

// Programs are the built programs of a control plane.
type Programs struct {
	// Directory holds the binaries under their usual names. It can be put into
	// the PATH.
	Directory string
	manifests string
}

// Path returns the path of a program's binary.
func (p Programs) Path(name string) string { return filepath.Join(p.Directory, name) }

// manifestFiles returns the files of one of the manifest directories.
func (p Programs) manifestFiles(name string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(p.manifests, name, "*.yaml"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no files in %s", filepath.Join(p.manifests, name))
	}
	return files, err
}

// newPrograms returns where the programs of a set belong, whose module is in a directory:
// it depends on everything that the binaries depend on.
func newPrograms(module string, built set) (Programs, error) {
	hash := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return Programs{}, fmt.Errorf("reading the pinned versions of the programs: %w", err)
		}
		hash.Write(content)
	}
	fmt.Fprintln(hash, linkFlags, runtime.GOOS, runtime.GOARCH, runtime.Version())
	for _, program := range built.programs {
		fmt.Fprintln(hash, program)
	}
	for _, manifest := range built.manifests {
		fmt.Fprintln(hash, manifest)
	}
	directory, err := cacheDirectory(hex.EncodeToString(hash.Sum(nil))[:16])
	if err != nil {
		return Programs{}, err
	}
	return Programs{Directory: filepath.Join(directory, "bin"), manifests: filepath.Join(directory, "manifests")}, nil
}

// copyFile copies a file and gives it its name only when it is whole.
func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.CreateTemp(filepath.Dir(to), ".copy-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(target.Name()) }()
	if _, err := io.Copy(target, source); err != nil {
		_ = target.Close()
		return err
	}
	if err := target.Close(); err != nil {
		return err
	}
	return os.Rename(target.Name(), to)
}
