package record_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

var started = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func newRecord(id string) *v1alpha1.MigrationRecord {
	return &v1alpha1.MigrationRecord{
		TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationRecord), ID: id, Operation: v1alpha1.OperationEnroll, Namespace: "shop", State: v1alpha1.RunRunning,
		User: "jane", ToolVersion: "v1.2.3", Started: started,
		Plan: v1alpha1.MigrationPlan{Steps: []v1alpha1.Step{{ID: "a", Changes: []v1alpha1.Change{{
			Object: v1alpha1.ObjectReference{Kind: "Namespace", Name: "shop"}, Fields: []v1alpha1.FieldChange{{Path: "/metadata/labels/a~1b", Before: nil, After: ""}},
		}}}}},
		Steps: []v1alpha1.StepRecord{{ID: "a", State: v1alpha1.StepRunning, Started: &started, Before: []v1alpha1.BeforeImage{{Content: map[string]any{"kind": "Namespace", "unknown": []any{"x"}}}}}},
	}
}

// cluster is a fake API server that stamps what it stores, as the real one
// does, and refuses a write to another version than the stored one.
func cluster(t *testing.T) *fake.Clientset {
	t.Helper()
	client, version := fake.NewClientset(), 0
	maps := schema.GroupResource{Resource: "configmaps"}
	stamp := func(action clienttesting.Action) (bool, runtime.Object, error) {
		var object *corev1.ConfigMap
		version++
		switch action := action.(type) {
		case clienttesting.CreateActionImpl:
			object = action.GetObject().(*corev1.ConfigMap)
			object.CreationTimestamp = metav1.NewTime(started.Add(time.Duration(version) * time.Minute))
		case clienttesting.UpdateActionImpl:
			object = action.GetObject().(*corev1.ConfigMap)
			stored, err := client.Tracker().Get(configMaps, object.Namespace, object.Name)
			if err != nil {
				return true, nil, err
			}
			if object.ResourceVersion != "" && stored.(*corev1.ConfigMap).ResourceVersion != object.ResourceVersion {
				return true, nil, apierrors.NewConflict(maps, object.Name, errors.New("the object has been modified"))
			}
			object.CreationTimestamp = stored.(*corev1.ConfigMap).CreationTimestamp
		}
		object.ResourceVersion = fmt.Sprint(version)
		return false, nil, nil
	}
	client.PrependReactor("create", "configmaps", stamp)
	client.PrependReactor("update", "configmaps", stamp)
	return client
}

func store(client *fake.Clientset) *record.Store { return record.NewStore(client.CoreV1(), "shop") }

func configMap(t *testing.T, client *fake.Clientset, id string) *corev1.ConfigMap {
	t.Helper()
	object, err := client.CoreV1().ConfigMaps("shop").Get(context.Background(), record.Name(id), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return object
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	client := cluster(t)
	written := newRecord("one")
	if err := store(client).Create(t.Context(), written); err != nil {
		t.Fatal(err)
	}
	object := configMap(t, client, "one")
	read, err := record.Unpack(object, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(written, read); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	if object.Name != "kubectl-ambient-one" || object.Labels[record.Label] != "enroll" {
		t.Errorf("the ConfigMap is %s, labelled %v", object.Name, object.Labels)
	}
	if diff := cmp.Diff(map[string]string{"operation": "enroll", "state": "running", "reason": "", "user": "jane"}, object.Data); diff != "" {
		t.Errorf("people read (-want +got):\n%s", diff)
	}
}

// Pods are told apart by their creation, which the API server's clock says.
func TestCreateTakesTheAPIServersTime(t *testing.T) {
	client := cluster(t)
	written := newRecord("one")
	written.Started = started.Add(-time.Hour)
	if err := store(client).Create(t.Context(), written); err != nil {
		t.Fatal(err)
	}
	want := configMap(t, client, "one").CreationTimestamp.Time
	if read, err := record.Unpack(configMap(t, client, "one"), nil); err != nil || !read.Started.Equal(want) || !written.Started.Equal(want) {
		t.Errorf("the record started at %s and %s, the ConfigMap at %s, %v", read.Started, written.Started, want, err)
	}
}

// A record that was restored from a backup is as old as it was, and not the newest; what
// it was first stored with is the time of whoever ran it, which may be another.
func TestARestoredRecordKeepsItsTime(t *testing.T) {
	client := cluster(t)
	store := store(client)
	old, young := newRecord("old"), newRecord("young")
	for _, one := range []*v1alpha1.MigrationRecord{old, young} {
		if err := store.Create(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		if err := store.Update(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	began := configMap(t, client, "old").CreationTimestamp
	restored := configMap(t, client, "old").DeepCopy()
	restored.CreationTimestamp = metav1.NewTime(began.Add(24 * time.Hour))
	if err := client.Tracker().Update(configMaps, restored, "shop"); err != nil {
		t.Fatal(err)
	}
	records, err := store.List(t.Context())
	if err != nil || len(records) != 2 || records[0].ID != "young" || !records[1].Started.Equal(began.Time) {
		t.Errorf("the records are %+v, %v", records, err)
	}
}

func TestUpdateAndDelete(t *testing.T) {
	client := cluster(t)
	store := store(client)
	one := newRecord("one")
	if err := store.Create(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	for _, state := range []v1alpha1.RunState{v1alpha1.RunIncomplete, v1alpha1.RunRolledBack} {
		one.State = state
		if err := store.Update(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		if object := configMap(t, client, "one"); object.Data["state"] != string(state) {
			t.Errorf("the state is %s", object.Data["state"])
		}
	}
	for range 2 {
		// One that is gone is gone.
		if err := store.Delete(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	if records, err := store.List(t.Context()); err != nil || len(records) != 0 {
		t.Errorf("there are %d records, %v", len(records), err)
	}
}

func TestDeleteIsForTheVersionThatWasWritten(t *testing.T) {
	client := cluster(t)
	store := store(client)
	one := newRecord("one")
	if err := store.Create(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	want := configMap(t, client, "one").ResourceVersion
	if err := store.Delete(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	actions := client.Actions()
	deletion := actions[len(actions)-1].(clienttesting.DeleteActionImpl)
	if preconditions := deletion.DeleteOptions.Preconditions; preconditions == nil || preconditions.ResourceVersion == nil || *preconditions.ResourceVersion != want {
		t.Errorf("the deletion is conditional on %+v, not on version %s", preconditions, want)
	}
}

func TestTwoWritersNeverOverwriteEachOther(t *testing.T) {
	client := cluster(t)
	mine := store(client)
	one := newRecord("one")
	if err := mine.Create(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	other := store(client)
	records, err := other.List(t.Context())
	if err != nil || len(records) != 1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	records[0].State = v1alpha1.RunRolledBack
	if err := other.Update(t.Context(), &records[0]); err != nil {
		t.Fatal(err)
	}
	err = mine.Update(t.Context(), one)
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), "ConfigMap shop/kubectl-ambient-one") {
		t.Errorf("the error is %v", err)
	}
	if object := configMap(t, client, "one"); object.Data["state"] != "rolled-back" {
		t.Errorf("the state is %s", object.Data["state"])
	}
}

func TestCreateRefusesAnIDThatIsTaken(t *testing.T) {
	client := cluster(t)
	if err := store(client).Create(t.Context(), newRecord("one")); err != nil {
		t.Fatal(err)
	}
	other := newRecord("one")
	other.User = "joe"
	if err := store(client).Create(t.Context(), other); !apierrors.IsAlreadyExists(err) || !strings.Contains(err.Error(), "ConfigMap shop/kubectl-ambient-one") {
		t.Errorf("the error is %v", err)
	}
}

// A creation whose answer was lost is found out when it is tried again.
func TestCreateTwiceIsCreateOnce(t *testing.T) {
	client := cluster(t)
	again, one := store(client), newRecord("one")
	one.Started = time.Time{}
	if err := store(client).Create(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	one.Started = time.Time{}
	if err := again.Create(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	one.State = v1alpha1.RunSucceeded
	if err := again.Update(t.Context(), one); err != nil {
		t.Error(err)
	}
}

func TestListIsNewestFirst(t *testing.T) {
	client := cluster(t)
	store := store(client)
	for _, id := range []string{"b", "c", "a"} {
		if err := store.Create(t.Context(), newRecord(id)); err != nil {
			t.Fatal(err)
		}
	}
	same := newRecord("z")
	if err := store.Create(t.Context(), same); err != nil {
		t.Fatal(err)
	}
	// Runs of the same second go by their IDs.
	records, err := store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same.Started = records[1].Started
	if err := store.Update(t.Context(), same); err != nil {
		t.Fatal(err)
	}
	if records, err = store.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, record := range records {
		ids = append(ids, record.ID)
	}
	if diff := cmp.Diff([]string{"z", "a", "c", "b"}, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOpen(t *testing.T) {
	of := func(id string, operation v1alpha1.Operation, state v1alpha1.RunState) v1alpha1.MigrationRecord {
		return v1alpha1.MigrationRecord{ID: id, Operation: operation, State: state}
	}
	records := []v1alpha1.MigrationRecord{
		of("killed", v1alpha1.OperationEnroll, v1alpha1.RunRunning), of("back", v1alpha1.OperationRollback, v1alpha1.RunIncomplete), of("stopped", v1alpha1.OperationEnroll, v1alpha1.RunIncomplete),
		of("undone", v1alpha1.OperationEnroll, v1alpha1.RunRolledBack), of("done", v1alpha1.OperationEnroll, v1alpha1.RunSucceeded),
	}
	var ids []string
	for _, record := range record.Open(records) {
		ids = append(ids, record.ID)
	}
	if diff := cmp.Diff([]string{"killed", "stopped", "done"}, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if records[1].ID != "back" || len(records) != 5 {
		t.Error("the argument was changed")
	}
}

func TestNewest(t *testing.T) {
	client := cluster(t)
	for _, entry := range []struct{ namespace, id string }{{"shop", "b"}, {"pay", "x"}, {"shop", "a"}} {
		one := newRecord(entry.id)
		one.Namespace, one.State = entry.namespace, v1alpha1.RunIncomplete
		if err := record.NewStore(client.CoreV1(), entry.namespace).Create(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	got, err := record.Newest(t.Context(), client.CoreV1())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]v1alpha1.RecordSummary{
		"shop": {ID: "a", Operation: v1alpha1.OperationEnroll, State: v1alpha1.RunIncomplete}, "pay": {ID: "x", Operation: v1alpha1.OperationEnroll, State: v1alpha1.RunIncomplete},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEnrolled(t *testing.T) {
	client := cluster(t)
	for _, entry := range []struct {
		namespace, id string
		operation     v1alpha1.Operation
		state         v1alpha1.RunState
	}{
		{"holds", "a", v1alpha1.OperationEnroll, v1alpha1.RunSucceeded},
		{"back", "a", v1alpha1.OperationEnroll, v1alpha1.RunRolledBack}, {"back", "b", v1alpha1.OperationRollback, v1alpha1.RunSucceeded},
		{"half", "a", v1alpha1.OperationEnroll, v1alpha1.RunRolledBack}, {"half", "b", v1alpha1.OperationRollback, v1alpha1.RunIncomplete},
		{"service", "a", v1alpha1.OperationEnroll, v1alpha1.RunSucceeded}, {"service", "b", v1alpha1.OperationRollback, v1alpha1.RunSucceeded},
		{"again", "a", v1alpha1.OperationEnroll, v1alpha1.RunRolledBack}, {"again", "b", v1alpha1.OperationRollback, v1alpha1.RunIncomplete},
		{"again", "c", v1alpha1.OperationRollback, v1alpha1.RunSucceeded},
	} {
		one := newRecord(entry.id)
		one.Namespace, one.Operation, one.State = entry.namespace, entry.operation, entry.state
		if err := record.NewStore(client.CoreV1(), entry.namespace).Create(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	got, err := record.Enrolled(t.Context(), client.CoreV1())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"holds": true, "back": false, "half": true, "service": true, "again": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnpackNamesTheConfigMapItDoesNotUnderstand(t *testing.T) {
	pack := func(text string) []byte {
		var packed bytes.Buffer
		writer := gzip.NewWriter(&packed)
		_, _ = writer.Write([]byte(text))
		_ = writer.Close()
		return packed.Bytes()
	}
	whole := pack(`{"apiVersion":"ambient.kubectl-ambient.dev/v1alpha1"}`)
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"nothing": {nil, "EOF"}, "no gzip": {[]byte("record"), "EOF"}, "cut off": {whole[:len(whole)-6], "EOF"}, "no JSON": {pack("record"), "invalid character"},
		"of a later version": {pack(`{"apiVersion":"ambient.kubectl-ambient.dev/v2"}`), `version "ambient.kubectl-ambient.dev/v2"`},
	} {
		t.Run(name, func(t *testing.T) {
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "kubectl-ambient-one"}, BinaryData: map[string][]byte{"record.json.gz": test.data}}
			_, err := record.Unpack(object, nil)
			if err == nil || !strings.HasPrefix(err.Error(), "ConfigMap shop/kubectl-ambient-one: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestListFailsForARecordItDoesNotUnderstand(t *testing.T) {
	client := cluster(t)
	if _, err := client.CoreV1().ConfigMaps("shop").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "kubectl-ambient-x", Labels: map[string]string{record.Label: "enroll"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := store(client).List(t.Context()); err == nil || !strings.Contains(err.Error(), "kubectl-ambient-x") {
		t.Errorf("the error is %v", err)
	}
}

func TestStoreErrorsSayWhatWasTried(t *testing.T) {
	client := fake.NewClientset()
	refused := apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "", errors.New("not you"))
	client.PrependReactor("*", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, refused })
	store := store(client)
	for _, test := range []struct {
		want string
		call func() error
	}{
		{"create ConfigMap shop/kubectl-ambient-one", func() error { return store.Create(t.Context(), newRecord("one")) }},
		{"update ConfigMap shop/kubectl-ambient-one", func() error { return store.Update(t.Context(), newRecord("one")) }},
		{"delete ConfigMap shop/kubectl-ambient-one", func() error { return store.Delete(t.Context(), newRecord("one")) }},
		{"list migration records", func() error { _, err := store.List(t.Context()); return err }},
		{"list migration records", func() error { _, err := record.Newest(t.Context(), client.CoreV1()); return err }},
	} {
		if err := test.call(); !errors.Is(err, refused) || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("the error is %v, want it to begin with %s", err, test.want)
		}
	}
}

// A record that cannot be written as JSON, which no plan has, is an error and
// not an empty record.
func TestAValueThatJSONDoesNotKnowIsAnError(t *testing.T) {
	one := newRecord("one")
	one.Plan.Steps[0].Changes[0].Fields[0].After = func() {}
	var unsupported *json.UnsupportedTypeError
	if err := store(cluster(t)).Create(t.Context(), one); !errors.As(err, &unsupported) {
		t.Errorf("the error is %v", err)
	}
}
