package classes

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		name      string
		lists     [][]string
		addresses []string
	}{
		{"no blocks", nil, []string{"192.0.2.1"}},
		{"a block", [][]string{{"10.0.0.0/8"}}, []string{"192.0.2.1", "10.0.0.1"}},
		{"an address", [][]string{{"10.1.2.3"}}, []string{"192.0.2.1", "10.1.2.3"}},
		{"a block in another", [][]string{{"10.0.0.0/8"}, {"10.0.0.0/16"}}, []string{"192.0.2.1", "10.1.0.0", "10.0.0.1"}},
		{"a block that is all of another", [][]string{{"10.0.0.0/8"}, {"10.0.0.0/9", "10.128.0.0/9"}}, []string{"192.0.2.1", "10.0.0.1"}},
		{"a block written with an address in it", [][]string{{"10.1.2.3/8"}}, []string{"192.0.2.1", "10.0.0.1"}},
		{"both families", [][]string{{"10.0.0.0/8", "fd00::/8"}, {"fd00::/16"}}, []string{"192.0.2.1", "10.0.0.1", "fd00::1"}},
		{"all of one family", [][]string{{"0.0.0.0/0"}}, []string{"192.0.2.1", "2001:db8::1"}},
		{"all", [][]string{{"0.0.0.0/0", "::/0"}}, []string{"192.0.2.1"}},
		{"the addresses for documentation", [][]string{{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"}}, []string{"192.0.2.1", "0.0.0.1"}},
		{"what is no block", [][]string{{"localhost"}}, []string{"192.0.2.1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var lists []blocks
			for _, list := range test.lists {
				lists = addBlocks(lists, list)
			}
			var addresses []string
			for _, address := range addressWitnesses(lists) {
				addresses = append(addresses, address.String())
			}
			if difference := cmp.Diff(test.addresses, addresses); difference != "" {
				t.Errorf("addresses (-want +got):\n%s", difference)
			}
		})
	}
}

func TestAddressesOfRandomBlocks(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		var lists []blocks
		for range 1 + random.IntN(4) {
			var list []string
			for range 1 + random.IntN(3) {
				list = append(list, fmt.Sprintf("10.0.0.%d/%d", random.IntN(16), 27+random.IntN(6)), fmt.Sprintf("fd00::%x/%d", random.IntN(16), 123+random.IntN(6)))
			}
			lists = addBlocks(lists, list)
		}
		requireWitnesses(t, addressWitnesses(lists), func(yield func(netip.Addr) bool) {
			for i := range 48 {
				if !yield(netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", i))) || !yield(netip.MustParseAddr(fmt.Sprintf("fd00::%x", i))) {
					return
				}
			}
		}, func(address netip.Addr) string { return blockSignature(lists, address) })
		if t.Failed() {
			t.Fatalf("blocks %v", lists)
		}
	}
}
