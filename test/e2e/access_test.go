package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/randommesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/ztunnel"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/oracle"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/restmapper"
)

// The meshes of TestAccess and how many of them there are at a time: most of what
// they do is waiting.
const (
	defaultMeshes = 20
	meshesAtOnce  = 6
)

// leastDecisions is how many decisions of model and oracle there are in the default
// meshes at least: a mesh in which nothing can be asked is not one that is right.
const leastDecisions = 50_000

// TestAccess migrates random meshes, and holds what the plugin believes of them
// against what the running istiod serves, at every stage: the access model decides
// calls as the oracle does, and the oracle decides them as before the migration
// but for what the plan announced.
//
// ACCESS_MESHES says how many meshes, ACCESS_SEED the seed of the first one. With
// only the latter that one is the only one. With neither the test wants all the meshes
// that there are by default to have been migrated, and enough decisions to have been
// compared.
func TestAccess(t *testing.T) {
	// It has a control plane of its own.
	t.Parallel()
	first, count, chosen := seeds(t)
	world := newAccessWorld(t)
	t.Cleanup(func() { fmt.Printf("access: %s\n", &world.totals) })
	queue := make(chan uint64)
	var group sync.WaitGroup
	for range meshesAtOnce {
		group.Go(func() {
			for seed := range queue {
				t.Run("seed="+strconv.FormatUint(seed, 10), func(t *testing.T) { world.try(t, randommesh.New(seed)) })
			}
		})
	}
	for i := range count {
		queue <- first + i
	}
	close(queue)
	group.Wait()
	if chosen {
		return
	}
	if meshes, modelled := world.totals.meshes.Load(), world.totals.modelled.Load(); meshes < defaultMeshes || modelled < leastDecisions {
		t.Errorf("%d meshes and %d decisions of the model and the oracle, which are to be %d and %d at least", meshes, modelled, defaultMeshes, leastDecisions)
	}
}

// seeds are the first seed and how many there are; chosen is false where nobody said.
func seeds(t *testing.T) (first, count uint64, chosen bool) {
	t.Helper()
	number := func(name string, otherwise uint64) uint64 {
		text, set := os.LookupEnv(name)
		if !set {
			return otherwise
		}
		chosen = true
		value, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return value
	}
	otherwise := uint64(defaultMeshes)
	if _, set := os.LookupEnv("ACCESS_SEED"); set {
		otherwise = 1
	}
	first, count = number("ACCESS_SEED", 1), number("ACCESS_MESHES", otherwise)
	return first, count, chosen
}

// totals are what was done.
type totals struct {
	meshes, blocked, stages, modelled, invented, compared, projected, unreachable, announced, rolledBack atomic.Int64
	// reasons count what is unreachable.
	reasons sync.Map
}

func (n *totals) String() string {
	var reasons []string
	n.reasons.Range(func(reason, count any) bool {
		reasons = append(reasons, fmt.Sprintf("%s: %d", reason, count.(*atomic.Int64).Load()))
		return true
	})
	slices.Sort(reasons)
	return fmt.Sprintf("%d meshes (%d blocked by other gates than those about calls), %d stages, %d decisions of the model and the oracle (%d of invented requests), "+
		"%d compared with those before (%d of them announced changes), %d with the plan's, %d unreachable (%s), %d meshes rolled back",
		n.meshes.Load(), n.blocked.Load(), n.stages.Load(), n.modelled.Load(), n.invented.Load(), n.compared.Load(), n.announced.Load(), n.projected.Load(),
		n.unreachable.Load(), strings.Join(reasons, "; "), n.rolledBack.Load())
}

// accessWorld is a control plane of its own for random meshes: their policies may
// concern the whole of it.
type accessWorld struct {
	*cluster
	oracle   *oracle.Oracle
	metadata metadata.Interface
	mapper   *restmapper.DeferredDiscoveryRESTMapper
	reader   *ztunnel.Reader
	// exclusive is held for reading by all meshes but those whose policies
	// concern the others.
	exclusive sync.RWMutex
	totals    totals
	kept      *keeper
}

func newAccessWorld(t *testing.T) *accessWorld {
	t.Helper()
	ctx := t.Context()
	c, err := start(ctx, controlplane.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.stopAfter(t)
	istio, err := c.InstallIstio(ctx, controlplane.IstioOptions{
		MeshConfig: randommesh.MeshConfig(),
		Environment: map[string]string{
			// Istiod admits few new streams per second, and each proxy that the
			// oracle plays is one.
			"PILOT_MAX_REQUESTS_PER_SECOND": "10000",
			// It waits for changes to end before it answers with them; here they
			// never end.
			"PILOT_DEBOUNCE_AFTER": "20ms", "PILOT_DEBOUNCE_MAX": "200ms",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &accessWorld{cluster: c, kept: newKeeper(t)}
	if w.oracle, err = oracle.New(c.RESTConfig(), istio.GRPC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.oracle.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w.metadata, err = metadata.NewForConfig(c.RESTConfig())
	reader, failed := ztunnel.NewReader(c.RESTConfig())
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	w.reader, w.mapper = reader, restmapper.NewDeferredDiscoveryRESTMapper(cached(c.kube.Discovery()))
	c.applyText(t, randommesh.RootNamespace, guardService)
	w.installHold(t)
	// Rollouts are held in the middle here, and the oracle says what that means for calls.
	c.stopObserving()
	return w
}

// guardService is where the external authorizer would be.
const guardService = `
apiVersion: v1
kind: Service
metadata: {name: guard}
spec:
  selector: {app: guard}
  ports: [{name: grpc, port: 9000}]
`
