package record_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// noise is a text that does not pack to less than about half of its length.
func noise(seed uint64, length int) string {
	random := rand.New(rand.NewPCG(seed, 2))
	letters := make([]byte, length)
	for i := range letters {
		letters[i] = byte('a' + random.IntN(26))
	}
	return string(letters)
}

// largeRecord is a record of a run that has not started: its plan alone is too
// large for one ConfigMap if the steps are many.
func largeRecord(steps int) *v1alpha1.MigrationRecord {
	large := newRecord("large")
	large.Plan.Steps, large.Steps = nil, nil
	for i := range steps {
		id := fmt.Sprint("step-", i)
		large.Plan.Steps = append(large.Plan.Steps, v1alpha1.Step{ID: id, Summary: noise(uint64(i), 100<<10)})
		large.Steps = append(large.Steps, v1alpha1.StepRecord{ID: id, State: v1alpha1.StepPending})
	}
	return large
}

func start(record *v1alpha1.MigrationRecord, step int) {
	record.Steps[step].State = v1alpha1.StepRunning
	record.Steps[step].Before = []v1alpha1.BeforeImage{{
		Object: v1alpha1.ObjectReference{Kind: "Deployment", Name: fmt.Sprint(step)}, Content: map[string]any{"unknown": noise(uint64(1000+step), 100<<10)},
	}}
}

// sizes are the ConfigMaps of the namespace and how many bytes each holds.
func sizes(t *testing.T, client *fake.Clientset) map[string]int {
	t.Helper()
	configMaps, err := client.CoreV1().ConfigMaps("shop").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int{}
	for _, item := range configMaps.Items {
		for key, value := range item.BinaryData {
			sizes[item.Name] += len(key) + len(value)
		}
	}
	return sizes
}

func only(t *testing.T, records []v1alpha1.MigrationRecord, err error) *v1alpha1.MigrationRecord {
	t.Helper()
	if err != nil || len(records) != 1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	return &records[0]
}

// A ConfigMap holds 1 MiB. A record that grows beyond it is as readable after
// every step, by whoever reads it, as a small one.
func TestARecordGrowsBeyondOneConfigMap(t *testing.T) {
	for name, test := range map[string]struct{ steps, parts int }{"in the middle of the run": {12, 1}, "with its plan already": {24, 3}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := cluster(t)
			mine, large := store(client), largeRecord(test.steps)
			if err := mine.Create(t.Context(), large); err != nil {
				t.Fatal(err)
			}
			for step := range test.steps {
				start(large, step)
				if err := mine.Update(t.Context(), large); err != nil {
					t.Fatalf("step %d: %v", step, err)
				}
				records, err := store(client).List(t.Context())
				if diff := cmp.Diff(large, only(t, records, err)); diff != "" {
					t.Fatalf("after step %d (-written +read):\n%.2000s", step, diff)
				}
			}
			all := sizes(t, client)
			if len(all) < 1+test.parts {
				t.Errorf("all of it is in %v", all)
			}
			for name, size := range all {
				if size > 1<<20 {
					t.Errorf("ConfigMap %s holds %d bytes", name, size)
				}
			}
		})
	}
}

// What was put elsewhere is not written again at each step.
func TestPartsAreWrittenOnce(t *testing.T) {
	client := cluster(t)
	store, large := store(client), largeRecord(24)
	if err := store.Create(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	parts := len(sizes(t, client))
	client.ClearActions()
	for step := range 5 {
		start(large, step)
		if err := store.Update(t.Context(), large); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(client.Actions()); parts < 3 || got != 5 {
		t.Errorf("%d requests for 5 updates of a record in %d ConfigMaps", got, parts)
	}
}

// A run that was killed between the parts and the record leaves parts that the next
// attempt finds, and a record that is read as it was.
func TestKilledBetweenPartsAndRecord(t *testing.T) {
	client := cluster(t)
	mine, large := store(client), largeRecord(12)
	if err := mine.Create(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	var before []byte
	for step := range 12 {
		before, _ = json.Marshal(large)
		start(large, step)
		parts := len(sizes(t, client))
		killed := store(client)
		if _, err := killed.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		client.PrependReactor("update", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, context.Canceled })
		if err := killed.Update(t.Context(), large); err == nil {
			t.Fatal("the update was not refused")
		}
		client.ReactionChain = client.ReactionChain[1:]
		grown := len(sizes(t, client)) > parts
		records, err := store(client).List(t.Context())
		if read, _ := json.Marshal(only(t, records, err)); string(read) != string(before) {
			t.Fatalf("step %d: what is read is not what was stored", step)
		}
		if err := mine.Update(t.Context(), large); err != nil {
			t.Fatal(err)
		}
		if grown {
			return
		}
	}
	t.Error("no update put anything elsewhere")
}

func TestDeleteTakesThePartsToo(t *testing.T) {
	client := cluster(t)
	mine, large := store(client), largeRecord(24)
	if err := mine.Create(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	if err := mine.Create(t.Context(), newRecord("other")); err != nil {
		t.Fatal(err)
	}
	other := store(client)
	if _, err := other.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.Delete(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	if left := sizes(t, client); len(left) != 1 || left["kubectl-ambient-other"] == 0 {
		t.Errorf("left are %v", left)
	}
}

// A record of which a part is gone is not read as one of an empty plan, by which
// nothing would be undone.
func TestAMissingPartIsAnError(t *testing.T) {
	client := cluster(t)
	mine, large := store(client), largeRecord(24)
	if err := mine.Create(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	for name := range sizes(t, client) {
		if name == "kubectl-ambient-large" {
			continue
		}
		if err := client.CoreV1().ConfigMaps("shop").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		_, err := store(client).List(t.Context())
		if err == nil || !strings.Contains(err.Error(), name+" is missing") || !strings.Contains(err.Error(), "ConfigMap shop/kubectl-ambient-large") {
			t.Errorf("the error is %v", err)
		}
		break
	}
	if _, err := record.Unpack(configMap(t, client, "large"), nil); err == nil {
		t.Error("it is read without its parts")
	}
}

// What neither the plan nor before-images account for cannot be put elsewhere.
func TestARecordThatDoesNotFitIsRefused(t *testing.T) {
	large := newRecord("large")
	large.Steps[0].Message = noise(1, 2200<<10)
	client := cluster(t)
	err := store(client).Create(t.Context(), large)
	if err == nil || !strings.Contains(err.Error(), "large") || !strings.Contains(err.Error(), "more than the 1000 KiB") {
		t.Errorf("the error is %.200v", err)
	}
	if len(client.Actions()) != 0 {
		t.Error("a request was made")
	}
	large.Steps[0].Message = strings.Repeat("the same ", 1<<20)
	if err := store(client).Create(t.Context(), large); err != nil {
		t.Errorf("what packs well is refused: %.200v", err)
	}
}
