package ztunnel_test

import (
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/ztunnel"
)

// Lines as ztunnel writes them (its src/proxy/metrics.rs and src/telemetry.rs).
const (
	plainStart = "2026-08-20T13:45:53.000001Z\tinfo\taccess\tconnection complete\t"
	ends       = `src.addr=10.0.0.1:40000 src.workload="web-1" src.namespace="front" src.identity="spiffe://cluster.local/ns/front/sa/web" ` +
		`dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:80 dst.service="cart.shop.svc.cluster.local" dst.workload="cart-1" dst.namespace="shop" `
	inbound   = plainStart + ends + `direction="inbound" bytes_sent=84 bytes_recv=162 duration="3ms"`
	outbound  = plainStart + ends + `direction="outbound" bytes_sent=84 bytes_recv=162 duration="3ms"`
	jsonStart = `{"level":"info","time":"2026-08-20T13:45:53.000001Z","scope":"access","message":"connection complete",` +
		`"src.addr":"10.0.0.1:40000","src.namespace":"front","dst.addr":"10.0.0.2:15008","dst.namespace":"shop",`
	jsonInbound = jsonStart + `"direction":"inbound","bytes_sent":84,"bytes_recv":162,"duration":"3ms"}`
)

// until is a line that is cut before a part of it.
func until(line, part string) string {
	before, _, _ := strings.Cut(line, part)
	return before
}

func TestParseLine(t *testing.T) {
	shop, front := ztunnel.Access{Inbound: true, Namespace: "shop"}, ztunnel.Access{Namespace: "front"}
	for _, test := range []struct {
		name, line string
		want       ztunnel.Access
		is         ztunnel.Line
	}{
		{"inbound", inbound, shop, ztunnel.LineAccess},
		{"outbound", outbound, front, ztunnel.LineAccess},
		{"in JSON", jsonInbound, shop, ztunnel.LineAccess},
		{"outbound in JSON", strings.Replace(jsonInbound, "inbound", "outbound", 1), front, ztunnel.LineAccess},
		{"a foreign field", strings.Replace(inbound, ` direction=`, ` src.cluster="Kubernetes" new=1 direction=`, 1), shop, ztunnel.LineAccess},
		{"a foreign field in JSON", strings.Replace(jsonInbound, `"direction"`, `"new":{"a":[1]},"direction"`, 1), shop, ztunnel.LineAccess},
		{"text in quotes", strings.Replace(inbound, `"web-1"`, `"a \" dst.namespace=\"other\" \\"`, 1), shop, ztunnel.LineAccess},
		{"a workload that is not known", strings.Replace(inbound, `dst.namespace="shop" `, "", 1), ztunnel.Access{Inbound: true}, ztunnel.LineAccess},
		{"an error", inbound + ` error="connection closed"`, ztunnel.Access{}, ztunnel.LineOther},
		{"the level of an error", strings.Replace(inbound, "\tinfo\t", "\terror\t", 1) + ` error="denied"`, ztunnel.Access{}, ztunnel.LineOther},
		{"an error in JSON", strings.Replace(jsonInbound, `}`, `,"error":"denied"}`, 1), ztunnel.Access{}, ztunnel.LineOther},
		{"opened", strings.Replace(inbound, "complete", "opened", 1), ztunnel.Access{}, ztunnel.LineOther},
		{"denied early", "2026-08-20T13:45:53.000001Z\twarn\taccess\tconnection failed\tsrc.addr=10.0.0.1:1 dst.addr=10.0.0.2:80 direction=\"inbound\" error=\"x\"", ztunnel.Access{}, ztunnel.LineOther},
		{"another scope", strings.Replace(inbound, "\taccess\t", "\tproxy\t", 1), ztunnel.Access{}, ztunnel.LineOther},
		{"another scope in JSON", strings.Replace(jsonInbound, `"scope":"access"`, `"scope":"proxy"`, 1), ztunnel.Access{}, ztunnel.LineOther},
		{"the start", "2026-08-20T13:45:53.000001Z\tinfo\tztunnel\tversion: 1.31\t", ztunnel.Access{}, ztunnel.LineOther},
		{"part of its configuration", "proxy: true", ztunnel.Access{}, ztunnel.LineOther},
		{"an object of something else", `{"a":`, ztunnel.Access{}, ztunnel.LineOther},
		{"nothing", "", ztunnel.Access{}, ztunnel.LineOther},
		{"cut before its fields", strings.TrimSuffix(plainStart, "\t"), ztunnel.Access{}, ztunnel.LineUnread},
		{"cut in a name", until(inbound, "tion="), ztunnel.Access{}, ztunnel.LineUnread},
		{"cut in quotes", inbound[:len(inbound)-1], ztunnel.Access{}, ztunnel.LineUnread},
		{"cut behind the direction", until(inbound, " bytes_sent"), ztunnel.Access{}, ztunnel.LineUnread},
		{"cut JSON", jsonInbound[:len(jsonInbound)-1], ztunnel.Access{}, ztunnel.LineUnread},
		{"a field twice", inbound + ` direction="inbound"`, ztunnel.Access{}, ztunnel.LineUnread},
		{"no direction", strings.Replace(inbound, `direction="inbound" `, "", 1), ztunnel.Access{}, ztunnel.LineUnread},
		{"a value without a blank behind it", strings.Replace(inbound, `"shop" `, `"shop"`, 1), ztunnel.Access{}, ztunnel.LineUnread},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, is := ztunnel.ParseLine(test.line); got != test.want || is != test.is {
				t.Errorf("%+v, %d; want %+v, %d", got, is, test.want, test.is)
			}
		})
	}
}
