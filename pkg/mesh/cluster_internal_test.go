package mesh

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestCoverageOf(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	coverage, err := coverageOf("Pod", "", nil)
	if err != nil || coverage.State != CoverageRead || !coverage.Known() {
		t.Errorf("what was read is %v, %v", coverage, err)
	}
	coverage, err = coverageOf("Pod", "", apierrors.NewForbidden(pods, "", errors.New("not you")))
	if err != nil || coverage.State != CoverageForbidden || coverage.Known() || !strings.Contains(coverage.Reason, "not you") {
		t.Errorf("what is forbidden is %v, %v", coverage, err)
	}
	for _, other := range []error{apierrors.NewNotFound(pods, ""), apierrors.NewInternalError(errors.New("etcd")), apierrors.NewUnauthorized("who"), errors.New("reset")} {
		coverage, err = coverageOf("Pod", "shop", other)
		if err == nil || coverage.Known() || !errors.Is(err, other) || !strings.HasPrefix(err.Error(), "list Pod in namespace shop: ") {
			t.Errorf("%v is %v, %v", other, coverage, err)
		}
	}
	if _, err = coverageOf("Node", "", errors.New("reset")); err == nil || !strings.HasPrefix(err.Error(), "list Node: ") {
		t.Errorf("the error is %v", err)
	}
	for state, known := range map[CoverageState]bool{CoverageRead: true, CoverageAbsent: true, CoverageForbidden: false, CoverageUnasked: false} {
		if (Coverage{State: state}).Known() != known {
			t.Errorf("%s is known: %t", state, !known)
		}
	}
}

func TestResolve(t *testing.T) {
	routes := schema.GroupResource{Group: "gateway.networking.k8s.io", Resource: "tcproutes"}
	tests := []struct {
		name     string
		versions []string
		want     string
		served   bool
	}{
		{"served as asked for", []string{"v1", "v1alpha2"}, "v1alpha2", true},
		{"served in another version only", []string{"v1", "v1beta1"}, "v1", true},
		{"not installed", nil, "v1alpha2", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			served := served{versions: map[schema.GroupResource][]string{{Group: "other", Resource: "tcproutes"}: {"v9"}}}
			if test.versions != nil {
				served.versions[routes] = test.versions
			}
			resource, installed := served.resolve(routes.WithVersion("v1alpha2"))
			if resource.Version != test.want || installed != test.served || resource.GroupResource() != routes {
				t.Errorf("it resolves to %s, %t", resource, installed)
			}
		})
	}
}

func TestEveryCollectionHasAKeyOfItsOwn(t *testing.T) {
	seen := map[string]bool{PodsMeshWide: true}
	for _, collection := range collections() {
		if seen[collection.key] {
			t.Errorf("%s is written twice", collection.key)
		}
		seen[collection.key] = true
	}
}
