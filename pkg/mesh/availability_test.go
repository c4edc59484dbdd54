package mesh_test

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestRestart(t *testing.T) {
	bound := func(text string) *intstr.IntOrString {
		if text == "" {
			return nil
		}
		value := intstr.Parse(text)
		return &value
	}
	tests := []struct {
		kind               string
		replicas           int32
		surge, unavailable string
		want               mesh.Restart
	}{
		{"Deployment", 1, "", "", mesh.Restart{Surge: 1}},
		{"Deployment", 4, "", "", mesh.Restart{Surge: 1, Unavailable: 1}},
		{"Deployment", 5, "", "", mesh.Restart{Surge: 2, Unavailable: 1}},
		{"Deployment", 3, "0", "25%", mesh.Restart{Unavailable: 1}},
		{"Deployment", 3, "0", "0", mesh.Restart{Unavailable: 1}},
		{"Deployment", 3, "2", "0", mesh.Restart{Surge: 2}},
		{"Deployment", 3, "100%", "100%", mesh.Restart{Surge: 3, Unavailable: 3}},
		{"Deployment", 3, "many", "few", mesh.Restart{Unavailable: 1}},
		{"Deployment", 3, "-1", "1", mesh.Restart{Unavailable: 1}},
		{"StatefulSet", 3, "", "", mesh.Restart{Unavailable: 1}},
		{"StatefulSet", 4, "", "50%", mesh.Restart{Unavailable: 2}},
		{"StatefulSet", 3, "", "50%", mesh.Restart{Unavailable: 1}},
		{"StatefulSet", 3, "", "10%", mesh.Restart{Unavailable: 1}},
		{"DaemonSet", 3, "", "", mesh.Restart{Unavailable: 1}},
		{"DaemonSet", 3, "", "50%", mesh.Restart{Unavailable: 2}},
		{"DaemonSet", 3, "34%", "0", mesh.Restart{Surge: 2}},
		{"CronJob", 0, "", "", mesh.Restart{}},
	}
	for _, test := range tests {
		workload := mesh.Workload{
			Reference: v1alpha1.ObjectReference{Kind: test.kind}, Replicas: test.replicas, MaxSurge: bound(test.surge), MaxUnavailable: bound(test.unavailable),
		}
		if got := workload.Restart(); got != test.want {
			t.Errorf("%s of %d, %q and %q: %+v, not %+v", test.kind, test.replicas, test.surge, test.unavailable, got, test.want)
		}
	}
	recreated := mesh.Workload{Reference: v1alpha1.ObjectReference{Kind: "Deployment"}, Replicas: 3, Recreate: true}
	if got := recreated.Restart(); got != (mesh.Restart{Unavailable: 3}) {
		t.Errorf("recreated: %+v", got)
	}
}
