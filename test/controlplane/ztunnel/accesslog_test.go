package ztunnel

import (
	"testing"
	"time"
)

func TestEventsAreLoggedInTheFormatsOfZtunnel(t *testing.T) {
	of := event{time.Date(2026, 8, 20, 13, 45, 53, 1000, time.UTC), "info", "access", "connection complete", []field{
		{"src.addr", bare("10.0.0.1:40000")}, {"src.workload", `a "b"`}, {"bytes_sent", 84},
	}}
	const plain = "2026-08-20T13:45:53.000001Z\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:40000 src.workload=\"a \\\"b\\\"\" bytes_sent=84"
	if got := of.plain(); got != plain {
		t.Errorf("%s\nwant %s", got, plain)
	}
	const object = `{"level":"info","time":"2026-08-20T13:45:53.000001Z","scope":"access","message":"connection complete",` +
		`"src.addr":"10.0.0.1:40000","src.workload":"a \"b\"","bytes_sent":84}`
	if got, err := of.json(); err != nil || got != object {
		t.Errorf("%s, %v\nwant %s", got, err, object)
	}
}
