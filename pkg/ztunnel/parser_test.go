package ztunnel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dumpsOf are what the ztunnels of some nodes would answer that know the same pods, each
// of its own node's certificates.
func dumpsOf(nodes, pods int) [][]byte {
	var workloads, services []any
	for i := range pods {
		workloads = append(workloads, map[string]any{
			"uid": fmt.Sprintf("Kubernetes//Pod/shop/cart-%d", i), "workloadIps": []string{fmt.Sprintf("10.0.%d.%d", i/256, i%256)}, "protocol": "HBONE",
			"name": fmt.Sprintf("cart-%d", i), "namespace": "shop", "trustDomain": "", "serviceAccount": "cart", "workloadName": "cart", "workloadType": "pod",
			"canonicalName": "cart", "canonicalRevision": "latest", "node": fmt.Sprintf("node-%d", i%nodes), "authorizationPolicies": []string{"shop/a", "shop/b"},
			"status": "Healthy", "clusterId": "Kubernetes", "locality": map[string]any{"region": "r", "zone": "z"}, "capacity": 1, "networkMode": "Standard",
			"services": map[string]any{"shop/cart.shop.svc.cluster.local": map[string]any{"80": 8080}},
		})
	}
	for i := range 20 {
		services = append(services, map[string]any{
			"name": fmt.Sprintf("s-%d", i), "namespace": "shop", "hostname": fmt.Sprintf("s-%d.shop.svc.cluster.local", i), "vips": []string{fmt.Sprintf("/10.1.0.%d", i)},
			"ports": map[string]any{"80": 8080}, "waypoint": map[string]any{"destination": "shop/waypoint.shop.svc.cluster.local", "hboneMtlsPort": 15008},
		})
	}
	var dumps [][]byte
	for i := range nodes {
		data, err := json.MarshalIndent(map[string]any{
			"workloads": workloads, "services": services, "policies": []any{}, "stagedServices": map[string]any{}, "config": map[string]any{"clusterId": "Kubernetes"},
			"workloadState": map[string]any{fmt.Sprintf("uid-%d", i): map[string]any{"state": "Up"}}, "certificates": []any{map[string]any{"identity": fmt.Sprintf("spiffe://%d", i), "state": "Available"}},
		}, "", "  ")
		if err != nil {
			panic(err)
		}
		dumps = append(dumps, data)
	}
	return dumps
}

// What was read of one ztunnel is not taken for what another says.
func TestParserReadsEachDumpForItself(t *testing.T) {
	all := newParser()
	for i, dump := range dumpsOf(3, 20) {
		if i == 2 {
			dump = bytes.Replace(dump, []byte(`"HBONE"`), []byte(`"TCP"`), 1)
		}
		alone, err := Parse("z", dump)
		if err != nil {
			t.Fatal(err)
		}
		together, err := all.parse("z", dump)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(alone, together); diff != "" {
			t.Errorf("dump %d (-alone +together):\n%s", i, diff)
		}
		whole, err := readDump(dump)
		if err != nil || len(together.Workloads) != len(whole.Workloads) || len(together.Services) != 20 || len(together.Certificates) != 1 || len(together.Captured) != 1 {
			t.Errorf("dump %d: %d workloads of %d: %v", i, len(together.Workloads), len(whole.Workloads), err)
		}
	}
	if len(all.workloads) != 21 || len(all.services) != 20 {
		t.Errorf("%d workloads and %d services were read, want 21 and 20", len(all.workloads), len(all.services))
	}
}

// What goes through a text piece by piece comes to the same as what reads it as a whole.
func TestElements(t *testing.T) {
	elements := func(text string) (found []string, ok bool) {
		end, ok := eachElement([]byte(text), skipSpace([]byte(text), 0), func(value []byte) bool {
			found = append(found, strings.TrimSpace(string(value)))
			return json.Valid(value)
		})
		return found, ok && skipSpace([]byte(text), end) == len(text)
	}
	members := func(text string) (found []string, ok bool) {
		end, ok := eachMember([]byte(text), skipSpace([]byte(text), 0), func(name string, at int) (int, bool) {
			end := endOfValue([]byte(text), at)
			if end <= at {
				return 0, false
			}
			found = append(found, name+"="+strings.TrimSpace(text[at:end]))
			return end, json.Valid([]byte(text[at:end]))
		})
		return found, ok && skipSpace([]byte(text), end) == len(text)
	}
	for _, text := range []string{
		`[]`, ` [ ] `, `[1]`, `["a,]",{"b":"}\\\""},[[],{}],null , true,-1.5e3]`, `["\\"]`, `["\\\"", 1]`, "[\n{\"a\": [1, 2]},\t{}\n]",
	} {
		var whole []json.RawMessage
		if err := json.Unmarshal([]byte(text), &whole); err != nil {
			t.Fatal(text, err)
		}
		var want []string
		for _, one := range whole {
			want = append(want, string(one))
		}
		if got, ok := elements(text); !ok || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %q, want %q", text, ok, got, want)
		}
	}
	for _, text := range []string{``, `[`, `]`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1]x`, `[1 }`, `["a]`, `{"a":1}`, `[{]`, `["\"]`, `null`, `[1 2]`} {
		if _, ok := elements(text); ok {
			t.Errorf("%s counts as an array", text)
		}
	}
	for text, want := range map[string][]string{`{}`: nil, `{"a":1 , "b" : {"c":[2]}}`: {"a=1", `b={"c":[2]}`}, "{\"x\":\n\"y\"}": {`x="y"`}} {
		if got, ok := members(text); !ok || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %q, want %q", text, ok, got, want)
		}
	}
	for _, text := range []string{``, `{`, `{"a"}`, `{"a":}`, `{"a":`, `{"a":1,}`, `{a:1}`, `{"a":1}}`, `{"a" 1}`, `[1]`, `{"a":1]`} {
		if _, ok := members(text); ok {
			t.Errorf("%s counts as an object", text)
		}
	}
}

// BenchmarkParse reads what the ztunnels of 20 nodes say of 2,400 pods.
func BenchmarkParse(b *testing.B) {
	dumps := dumpsOf(20, 2400)
	b.SetBytes(int64(len(dumps) * len(dumps[0])))
	b.ReportAllocs()
	for b.Loop() {
		all := newParser()
		for _, dump := range dumps {
			if _, err := all.parse("z", dump); err != nil {
				b.Fatal(err)
			}
		}
	}
}
