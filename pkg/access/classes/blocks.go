package classes

import (
	"net/netip"
	"slices"
	"strings"
)

// blocks is one list of addresses and CIDR blocks of a policy; it holds where any
// of them contains the address.
type blocks []netip.Prefix

// parseBlocks reads a list as Istio does (istio pilot/pkg/networking/util/util.go,
// AddrStrToPrefix), leaving out what is neither address nor block: Istio has no
// matcher for it.
func parseBlocks(values []string) blocks {
	var list blocks
	for _, value := range values {
		if prefix, err := netip.ParsePrefix(value); err == nil {
			list = append(list, prefix.Masked())
		} else if address, err := netip.ParseAddr(value); err == nil {
			list = append(list, netip.PrefixFrom(address.WithZone(""), address.BitLen()))
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}

func (b blocks) contain(address netip.Addr) bool {
	return slices.ContainsFunc(b, func(prefix netip.Prefix) bool { return prefix.Contains(address) })
}

// addBlocks takes in a list, unless it is there.
func addBlocks(lists []blocks, values []string) []blocks {
	list := parseBlocks(values)
	if len(list) == 0 || slices.ContainsFunc(lists, func(other blocks) bool { return slices.Equal(other, list) }) {
		return lists
	}
	return append(lists, list)
}

// blockSignature says which of the lists contain the address.
func blockSignature(lists []blocks, address netip.Addr) string {
	var signature strings.Builder
	for _, list := range lists {
		if list.contain(address) {
			signature.WriteByte('1')
		} else {
			signature.WriteByte('0')
		}
	}
	return signature.String()
}

// Addresses that are set aside for documentation stand for those in no block.
var elsewhere = []netip.Addr{
	netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.1"),
	netip.MustParseAddr("2001:db8::1"),
}

// everywhere are all addresses, for where blocks cover those.
var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// addressWitnesses are addresses of which one stands for each combination of
// lists that an address can be in, the default, in none if there is such an
// address, first. Of two blocks either one contains the other or they share
// nothing; so what an address is in is decided by the narrowest block around it,
// and one address of each block outside all narrower ones is all that is needed.
func addressWitnesses(lists []blocks) []netip.Addr {
	all := slices.Concat(lists...)
	all = append(all, everywhere...)
	slices.SortFunc(all, netip.Prefix.Compare)
	all = slices.Compact(all)
	candidates := slices.Clone(elsewhere)
	for _, block := range all {
		if address, ok := own(block, all); ok {
			candidates = append(candidates, address)
		}
	}
	seen := map[string]bool{}
	var witnesses []netip.Addr
	for _, address := range candidates {
		if signature := blockSignature(lists, address); !seen[signature] {
			seen[signature] = true
			witnesses = append(witnesses, address)
		}
	}
	return witnesses
}

// own is the first address of the block that is in none of the narrower ones,
// the one after the block's address where that is one.
func own(block netip.Prefix, all []netip.Prefix) (netip.Addr, bool) {
	first := block.Addr()
	if block.Bits() < block.Addr().BitLen()-1 {
		first = first.Next()
	}
	if address, ok := outsideNarrower(first, block, all); ok {
		return address, true
	}
	return outsideNarrower(block.Addr(), block, all)
}

// outsideNarrower skips the blocks inside the block, from an address on.
func outsideNarrower(address netip.Addr, block netip.Prefix, all []netip.Prefix) (netip.Addr, bool) {
	for block.Contains(address) {
		around := slices.IndexFunc(all, func(other netip.Prefix) bool { return other.Bits() > block.Bits() && other.Contains(address) })
		if around < 0 {
			return address, true
		}
		address = last(all[around]).Next()
	}
	return netip.Addr{}, false
}

// last is the last address of a block.
func last(block netip.Prefix) netip.Addr {
	bytes := block.Addr().AsSlice()
	for bit := block.Bits(); bit < block.Addr().BitLen(); bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	address, _ := netip.AddrFromSlice(bytes)
	return address
}
