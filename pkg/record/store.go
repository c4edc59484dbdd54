// Package record keeps what runs did, in the namespaces that they changed.
package record

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

const (
	// Label marks the ConfigMaps that hold records; its value is the operation.
	Label = "ambient.kubectl-ambient.dev/record"
	// dataKey holds the record: JSON, gzip.
	dataKey = "record.json.gz"
	// namePrefix starts the names of those ConfigMaps.
	namePrefix = "kubectl-ambient-"
	// FieldManager is the name under which this tool writes.
	FieldManager = "kubectl-ambient"
	// most is how large a packed record may be: an object of 1 MiB, less what
	// the rest of the ConfigMap needs.
	most = 1000 << 10
)

// Store keeps the records of one namespace.
type Store struct {
	client corev1client.ConfigMapInterface
	// versions holds the resourceVersion of each record as it was last read or
	// written here, so that two writers never overwrite each other.
	versions map[string]string
}

// NewStore returns the store of a namespace.
func NewStore(client corev1client.ConfigMapsGetter, namespace string) *Store {
	return &Store{client: client.ConfigMaps(namespace), versions: map[string]string{}}
}

// Name is the name of the ConfigMap that holds a record.
func Name(id string) string { return namePrefix + id }

// Create stores a new record. Its start becomes the API server's time, by which
// it can be compared with the creation of pods.
func (s *Store) Create(ctx context.Context, record *v1alpha1.MigrationRecord) error {
	configMap, err := pack(record)
	if err != nil {
		return err
	}
	created, err := s.client.Create(ctx, configMap, metav1.CreateOptions{FieldManager: FieldManager})
	if err != nil {
		return fmt.Errorf("create ConfigMap %s/%s for the migration record: %w", record.Namespace, configMap.Name, err)
	}
	s.versions[record.ID] = created.ResourceVersion
	record.Started = created.CreationTimestamp.UTC()
	return nil
}

// Update stores a record that this store created or listed. It fails where
// somebody else has written it since.
func (s *Store) Update(ctx context.Context, record *v1alpha1.MigrationRecord) error {
	configMap, err := pack(record)
	if err != nil {
		return err
	}
	configMap.ResourceVersion = s.versions[record.ID]
	updated, err := s.client.Update(ctx, configMap, metav1.UpdateOptions{FieldManager: FieldManager})
	if apierrors.IsConflict(err) {
		// An earlier try may have been stored although its answer was lost.
		now, getErr := s.client.Get(ctx, configMap.Name, metav1.GetOptions{})
		if getErr == nil && bytes.Equal(now.BinaryData[dataKey], configMap.BinaryData[dataKey]) {
			updated, err = now, nil
		}
	}
	if err != nil {
		return fmt.Errorf("update ConfigMap %s/%s with the migration record: %w", record.Namespace, configMap.Name, err)
	}
	s.versions[record.ID] = updated.ResourceVersion
	return nil
}

// Delete takes a record away again.
func (s *Store) Delete(ctx context.Context, record *v1alpha1.MigrationRecord) error {
	version := s.versions[record.ID]
	err := s.client.Delete(ctx, Name(record.ID), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete ConfigMap %s/%s, the record of a run that changed nothing: %w", record.Namespace, Name(record.ID), err)
	}
	return nil
}

// List returns the records of the namespace, newest first.
func (s *Store) List(ctx context.Context) ([]v1alpha1.MigrationRecord, error) {
	configMaps, err := s.client.List(ctx, metav1.ListOptions{LabelSelector: Label})
	if err != nil {
		return nil, fmt.Errorf("list migration records: %w", err)
	}
	var records []v1alpha1.MigrationRecord
	for i := range configMaps.Items {
		record, err := Unpack(&configMaps.Items[i])
		if err != nil {
			return nil, err
		}
		s.versions[record.ID] = configMaps.Items[i].ResourceVersion
		records = append(records, *record)
	}
	slices.SortFunc(records, func(a, b v1alpha1.MigrationRecord) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(b.ID, a.ID))
	})
	return records, nil
}

// Open returns the enrolments among records that changed something and were
// not rolled back: what a rollback has to undo.
func Open(records []v1alpha1.MigrationRecord) []v1alpha1.MigrationRecord {
	return slices.DeleteFunc(slices.Clone(records), func(record v1alpha1.MigrationRecord) bool {
		return record.Operation != v1alpha1.OperationEnroll || record.State == v1alpha1.RunRolledBack
	})
}

func pack(record *v1alpha1.MigrationRecord) (*corev1.ConfigMap, error) {
	data, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode migration record %s: %w", record.ID, err)
	}
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write(data); err != nil {
		return nil, fmt.Errorf("pack migration record %s: %w", record.ID, err)
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("pack migration record %s: %w", record.ID, err)
	}
	if packed.Len() > most {
		return nil, fmt.Errorf("migration record %s is %d KiB packed, more than the %d KiB that one ConfigMap holds: the namespace has too many workloads for this version",
			record.ID, packed.Len()>>10, most>>10)
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: record.Namespace, Name: Name(record.ID), Labels: map[string]string{Label: string(record.Operation)},
		},
		// For people who look at the ConfigMap; the tool reads the record.
		Data: map[string]string{
			"operation": string(record.Operation), "state": string(record.State), "reason": record.Reason, "user": record.User,
		},
		BinaryData: map[string][]byte{dataKey: packed.Bytes()},
	}, nil
}

// Unpack reads the record that a ConfigMap holds. The run started when the
// ConfigMap was created.
func Unpack(configMap *corev1.ConfigMap) (*v1alpha1.MigrationRecord, error) {
	fail := func(err error) (*v1alpha1.MigrationRecord, error) {
		return nil, fmt.Errorf("ConfigMap %s/%s: read the migration record in %s: %w", configMap.Namespace, configMap.Name, dataKey, err)
	}
	reader, err := gzip.NewReader(bytes.NewReader(configMap.BinaryData[dataKey]))
	if err != nil {
		return fail(err)
	}
	data, err := io.ReadAll(reader)
	if err != nil {
		return fail(err)
	}
	var record v1alpha1.MigrationRecord
	if err := json.Unmarshal(data, &record); err != nil {
		return fail(err)
	}
	if record.APIVersion != v1alpha1.GroupVersion {
		return fail(fmt.Errorf("it is of version %q, this tool reads %s", record.APIVersion, v1alpha1.GroupVersion))
	}
	if !configMap.CreationTimestamp.IsZero() {
		record.Started = configMap.CreationTimestamp.UTC()
	}
	return &record, nil
}

// Newest returns the newest record of each namespace, by name, from what is
// written on the ConfigMaps outside the record itself.
func Newest(ctx context.Context, client corev1client.ConfigMapsGetter) (map[string]v1alpha1.RecordSummary, error) {
	configMaps, err := client.ConfigMaps(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: Label})
	if err != nil {
		return nil, fmt.Errorf("list migration records: %w", err)
	}
	items := configMaps.Items
	slices.SortFunc(items, func(a, b corev1.ConfigMap) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	newest := map[string]v1alpha1.RecordSummary{}
	for _, item := range items {
		newest[item.Namespace] = v1alpha1.RecordSummary{
			ID:        strings.TrimPrefix(item.Name, namePrefix),
			Operation: v1alpha1.Operation(item.Data["operation"]), State: v1alpha1.RunState(item.Data["state"]),
		}
	}
	return newest, nil
}
