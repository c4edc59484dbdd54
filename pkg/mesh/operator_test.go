package mesh_test

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What a custom resource controls is a workload all the same, and its pods are its own;
// what has its template from elsewhere is none.
func TestWorkloadsThatOperatorsMake(t *testing.T) {
	for _, test := range []struct {
		apiVersion, kind string
		workload         bool
	}{
		{"kafka.strimzi.io/v1beta2", "KafkaConnect", true},
		{"gateway.networking.k8s.io/v1", "HTTPRoute", true},
		{"gateway.networking.k8s.io/v1", "Gateway", false},
		{"apps/v1", "StatefulSet", false},
		{"batch/v1", "CronJob", false},
		{"v1", "ConfigMap", false},
	} {
		t.Run(test.kind, func(t *testing.T) {
			deployment := fixture.Deployment("shop", "sink", func(d *appsv1.Deployment) {
				d.OwnerReferences = []metav1.OwnerReference{fixture.Owner(test.kind, test.apiVersion, &metav1.ObjectMeta{Name: "top", UID: "top"})}
			})
			// Nobody runs a ReplicaSet but what it is a part of.
			set := fixture.ReplicaSet("shop", "loose", nil, func(r *appsv1.ReplicaSet) { r.OwnerReferences = deployment.OwnerReferences })
			snapshot := fixture.Snapshot(fixture.Namespace("shop", nil), deployment, fixture.PodsOf(deployment), set)
			workloads := snapshot.Workloads("shop")
			if !test.workload {
				if len(workloads) > 0 {
					t.Errorf("it is a workload: %v", workloads[0].Reference)
				}
				return
			}
			if len(workloads) != 1 || workloads[0].Reference.Name != "sink" || workloads[0].Operator == nil || workloads[0].Operator.Name != "top" {
				t.Fatalf("the workloads are %+v", workloads)
			}
			pods := snapshot.PodsOf(workloads[0])
			if len(pods) != 1 {
				t.Fatalf("its pods are %v", pods)
			}
			if owner, _ := snapshot.OwnerOf(pods[0]); owner.Kind != mesh.KindDeployment {
				t.Errorf("its pods are run by %s %s", owner.Kind, owner.Name)
			}
		})
	}
	plain := fixture.Snapshot(fixture.Namespace("shop", nil), fixture.Deployment("shop", "cart")).Workloads("shop")
	if len(plain) != 1 || plain[0].Operator != nil {
		t.Errorf("what nobody controls is %+v", plain)
	}
}
