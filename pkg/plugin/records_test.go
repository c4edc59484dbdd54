package plugin

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// A rollback passes over a record that cannot be read only where it undoes, by name,
// nothing but what was made after it.
func TestRecordsForARollback(t *testing.T) {
	client, minute := fake.NewClientset(), time.Duration(0)
	client.PrependReactor("create", "configmaps", func(action clienttesting.Action) (bool, runtime.Object, error) {
		minute += time.Minute
		created := action.(clienttesting.CreateAction).GetObject().(*corev1.ConfigMap)
		created.CreationTimestamp = metav1.NewTime(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC).Add(minute))
		return false, nil, nil
	})
	o := options(t, nil, io.Discard, io.Discard)
	o.store = record.NewStore(client.CoreV1(), "shop")
	for _, id := range []string{"a", "damaged", "b", "c"} {
		if id == "damaged" {
			garbage := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: record.Name(id), Labels: map[string]string{record.Label: "enroll"}}}
			if _, err := client.CoreV1().ConfigMaps("shop").Create(t.Context(), garbage, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		run := &v1alpha1.MigrationRecord{TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationRecord), ID: id, Operation: v1alpha1.OperationEnroll, Namespace: "shop", State: v1alpha1.RunSucceeded}
		if err := o.store.Create(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		part part
		goes bool
	}{
		{part{}, false}, {part{run: "a"}, false}, {part{run: "b"}, true}, {part{run: "c"}, true}, {part{run: "lost"}, false},
		{part{to: "pin"}, false}, {part{service: "service/cart"}, false},
	} {
		t.Run(fmt.Sprintf("%+v", test.part), func(t *testing.T) {
			records, unread, err := o.recordsFor(t.Context(), test.part)
			if !unread || test.goes && (err != nil || len(records) != 3) {
				t.Fatalf("it goes by %d records, %t, %v", len(records), unread, err)
			}
			if !test.goes && (!errors.As(err, new(*record.UnreadableError)) || !strings.Contains(err.Error(), "ConfigMap shop/kubectl-ambient-damaged") || !strings.HasSuffix(err.Error(), "; --run b undoes no more than was done after it")) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
