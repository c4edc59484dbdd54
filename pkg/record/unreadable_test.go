package record_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func packed(t *testing.T, text string) []byte {
	t.Helper()
	var data bytes.Buffer
	writer := gzip.NewWriter(&data)
	if _, err := writer.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

func unreadableConfigMap(t *testing.T, client *fake.Clientset, id string, data map[string][]byte) {
	t.Helper()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: record.Name(id), Labels: map[string]string{record.Label: "enroll"}}, BinaryData: data}
	if _, err := client.CoreV1().ConfigMaps("shop").Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// What another version has written is told apart from what is damaged, whatever of it
// would not fit.
func TestUnreadableRecords(t *testing.T) {
	for name, test := range map[string]struct {
		data    map[string][]byte
		foreign bool
		want    string
	}{
		"of a later version": {
			map[string][]byte{"record.json.gz": packed(t, `{"apiVersion":"ambient.kubectl-ambient.dev/v2","steps":{"no":"list"}}`)}, true,
			`it is of version "ambient.kubectl-ambient.dev/v2", this tool reads ambient.kubectl-ambient.dev/v1alpha1`,
		},
		"a head of a later version": {
			map[string][]byte{"record-head.json.gz": packed(t, `{"record":{"apiVersion":"ambient.kubectl-ambient.dev/v2"},"plan":[]}`)}, true, `it is of version "ambient.kubectl-ambient.dev/v2"`,
		},
		"in another form": {map[string][]byte{"record.cbor.zst": []byte("x")}, true, "read the migration record in record.cbor.zst: it is of another version: this tool reads record.json.gz and record-head.json.gz"},
		"damaged":         {map[string][]byte{"record.json.gz": []byte("x")}, false, "read the migration record in record.json.gz: unexpected EOF"},
		"of no version":   {map[string][]byte{"record.json.gz": packed(t, `{}`)}, false, "it says no version"},
		"a part is gone": {
			map[string][]byte{"record-head.json.gz": packed(t, `{"record":{"apiVersion":"ambient.kubectl-ambient.dev/v1alpha1"},"plan":{"pieces":["gone"]}}`)}, false, "its part in ConfigMap gone is missing",
		},
		"empty": {nil, false, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			client := cluster(t)
			s := store(client)
			for _, id := range []string{"a", "c"} {
				if err := s.Create(t.Context(), newRecord(id)); err != nil {
					t.Fatal(err)
				}
				if id == "a" {
					unreadableConfigMap(t, client, "b", test.data)
				}
			}
			records, unread, err := s.Read(t.Context())
			if err != nil || len(records) != 2 || len(unread) != 1 || unread[0].ID != "b" || unread[0].Foreign != test.foreign {
				t.Fatalf("it reads %d records, not %+v, %v", len(records), unread, err)
			}
			if text := unread[0].Err.Error(); !strings.HasPrefix(text, "ConfigMap shop/kubectl-ambient-b: ") || !strings.Contains(text, test.want) {
				t.Errorf("it says %s", text)
			}
			remedy := "restore the ConfigMap, or look at it (kubectl get configmap -n shop kubectl-ambient-b -o yaml) and delete it, after which no rollback goes by it"
			if test.foreign {
				remedy = "use the version of kubectl ambient that wrote it"
			}
			_, err = s.List(t.Context())
			failure := (*record.UnreadableError)(nil)
			if !errors.As(err, &failure) || !errors.Is(err, unread[0].Err) && !strings.Contains(err.Error(), unread[0].Err.Error()) || !strings.HasSuffix(err.Error(), "; it may be of the run that counts: "+remedy) {
				t.Fatalf("List fails with %v", err)
			}
			if past := failure.Past(records); len(past) != 1 || past[0].ID != "c" {
				t.Errorf("made after it are %+v", past)
			}
		})
	}
}

// Nothing of a record that cannot be read is pruned, nor what a rollback of it needs.
func TestUnreadableRecordsAreKept(t *testing.T) {
	client := cluster(t)
	s := store(client)
	unreadableConfigMap(t, client, "b", nil)
	for _, name := range []string{"b", "gone"} {
		part := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: record.Name(name) + "-123", Labels: map[string]string{record.PartLabel: name}}}
		if _, err := client.CoreV1().ConfigMaps("shop").Create(t.Context(), part, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	records, unread, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	strays, err := s.Strays(t.Context(), records, unread)
	if err != nil || !slices.Equal(strays, []string{"kubectl-ambient-gone-123"}) {
		t.Errorf("the strays are %q, %v", strays, err)
	}
	undoing := run("undoing", v1alpha1.OperationRollback, v1alpha1.RunIncomplete, 0, "b")
	if prunable := record.Prunable([]v1alpha1.MigrationRecord{undoing}, unread, false, started.Add(1)); len(prunable) > 0 {
		t.Errorf("it would prune %+v", prunable)
	}
	history := record.History("shop", nil, unread)
	if len(history.Unreadable) != 1 || history.Unreadable[0].ID != "b" || history.Unreadable[0].Object.String() != "ConfigMap shop/kubectl-ambient-b" {
		t.Errorf("the history is %+v", history)
	}
}
