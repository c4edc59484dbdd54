package mesh_test

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

func TestHostMeans(t *testing.T) {
	tests := []struct {
		host, written string
		want          bool
	}{
		{"cart", "shop", true},
		{"cart", "pay", false},
		{"cart.shop", "pay", true},
		{"cart.shop.svc", "pay", true},
		{"cart.shop.svc.cluster.local", "pay", true},
		{"cart.shop.svc.example.org", "pay", true},
		{"cart.shop.example.com", "shop", false},
		{"cart.pay.svc.cluster.local", "shop", false},
		{"cart.shopping", "shop", false},
		{"*", "pay", true},
		{"*.shop.svc.cluster.local", "pay", true},
		{"*.pay.svc.cluster.local", "shop", false},
		{"*.example.com", "shop", false},
		{"", "shop", false},
		{".", "shop", false},
		{"cart.", "shop", false},
	}
	for _, test := range tests {
		if got := mesh.HostMeans(test.host, test.written, "cart", "shop"); got != test.want {
			t.Errorf("%q, written in %s: %t", test.host, test.written, got)
		}
	}
}

func TestHostsMatch(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"a.example.com", "a.example.com", true},
		{"A.example.com", "a.example.com", true},
		{"a.example.com", "b.example.com", false},
		{"*.example.com", "a.example.com", true},
		{"*.example.com", "example.com", false},
		{"*", "a", true},
		{"*.com", "*.example.com", true},
		{"*.org", "*.example.com", false},
		{"", "*", false},
		{"", "", false},
	}
	for _, test := range tests {
		if got, back := mesh.HostsMatch(test.a, test.b), mesh.HostsMatch(test.b, test.a); got != test.want || back != test.want {
			t.Errorf("%q and %q: %t, the other way round %t", test.a, test.b, got, back)
		}
	}
}
