// Package record keeps what runs did, in the namespaces that they changed.
package record

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

const (
	// Label marks the ConfigMaps that hold records; its value is the operation.
	Label = "ambient.kubectl-ambient.dev/record"
	// namePrefix starts the names of those ConfigMaps.
	namePrefix = "kubectl-ambient-"
	// FieldManager is the name under which this tool writes.
	FieldManager = "kubectl-ambient"
)

// Store keeps the records of one namespace.
type Store struct {
	client corev1client.ConfigMapInterface
	// versions holds the resourceVersion of each record as it was last read or
	// written here, so that two writers never overwrite each other.
	versions map[string]string
	// layouts says what of each record lies in ConfigMaps of its own.
	layouts map[string]layout
}

// NewStore returns the store of a namespace.
func NewStore(client corev1client.ConfigMapsGetter, namespace string) *Store {
	return &Store{client: client.ConfigMaps(namespace), versions: map[string]string{}, layouts: map[string]layout{}}
}

// Name is the name of the ConfigMap that holds a record.
func Name(id string) string { return namePrefix + id }

// Create stores a new record. Its start becomes the API server's time, by which
// it can be compared with the creation of pods. It is stored by the first update: the time
// here is another, and a start that is stored is always the API server's.
func (s *Store) Create(ctx context.Context, record *v1alpha1.MigrationRecord) error {
	begun := *record
	begun.Started = time.Time{}
	stored, err := s.pack(ctx, &begun)
	if err != nil {
		return err
	}
	created, err := s.client.Create(ctx, stored.head, metav1.CreateOptions{FieldManager: FieldManager})
	if apierrors.IsAlreadyExists(err) {
		// An earlier try may have been carried out although its answer was lost.
		if now, getErr := s.client.Get(ctx, stored.head.Name, metav1.GetOptions{}); getErr == nil && same(now, stored.head) {
			created, err = now, nil
		}
	}
	if err != nil {
		return fmt.Errorf("create ConfigMap %s/%s for the migration record: %w", record.Namespace, stored.head.Name, err)
	}
	s.versions[record.ID], s.layouts[record.ID] = created.ResourceVersion, stored.layout
	record.Started = created.CreationTimestamp.UTC()
	return nil
}

// Update stores a record that this store created or listed. It fails where
// somebody else has written it since.
func (s *Store) Update(ctx context.Context, record *v1alpha1.MigrationRecord) error {
	stored, err := s.pack(ctx, record)
	if err != nil {
		return err
	}
	configMap := stored.head
	configMap.ResourceVersion = s.versions[record.ID]
	updated, err := s.client.Update(ctx, configMap, metav1.UpdateOptions{FieldManager: FieldManager})
	if apierrors.IsConflict(err) {
		updated, err = s.reconcile(ctx, configMap, err)
	}
	if err != nil {
		return fmt.Errorf("update ConfigMap %s/%s with the migration record: %w", record.Namespace, configMap.Name, err)
	}
	s.versions[record.ID], s.layouts[record.ID] = updated.ResourceVersion, stored.layout
	return nil
}

// reconcile looks at what a conflict is about: an earlier try that was stored
// although its answer was lost, or nothing, where the version is the one that was
// to be replaced.
func (s *Store) reconcile(ctx context.Context, configMap *corev1.ConfigMap, conflict error) (*corev1.ConfigMap, error) {
	now, err := s.client.Get(ctx, configMap.Name, metav1.GetOptions{})
	switch {
	case err != nil:
		return nil, errors.Join(conflict, err)
	case same(now, configMap):
		return now, nil
	case now.ResourceVersion == configMap.ResourceVersion:
		return s.client.Update(ctx, configMap, metav1.UpdateOptions{FieldManager: FieldManager})
	default:
		return nil, conflict
	}
}

func same(a, b *corev1.ConfigMap) bool {
	return maps.EqualFunc(a.BinaryData, b.BinaryData, bytes.Equal)
}

// pack packs a record, and stores the pieces of it that are to lie elsewhere: the
// record must never name what is not there.
func (s *Store) pack(ctx context.Context, record *v1alpha1.MigrationRecord) (*packed, error) {
	stored, err := pack(record, s.layouts[record.ID])
	if err != nil {
		return nil, err
	}
	for _, piece := range stored.pieces {
		// Its name bears its content: one that is there is the same.
		if _, err := s.client.Create(ctx, piece, metav1.CreateOptions{FieldManager: FieldManager}); err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("create ConfigMap %s/%s for a part of the migration record: %w", record.Namespace, piece.Name, err)
		}
	}
	return stored, nil
}

// Delete takes a record away again, and then its parts.
func (s *Store) Delete(ctx context.Context, record *v1alpha1.MigrationRecord) error {
	version := s.versions[record.ID]
	err := s.client.Delete(ctx, Name(record.ID), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete ConfigMap %s/%s, which holds a migration record: %w", record.Namespace, Name(record.ID), err)
	}
	for _, name := range s.layouts[record.ID].pieces() {
		if err := s.client.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete ConfigMap %s/%s, which holds a part of a migration record: %w", record.Namespace, name, err)
		}
	}
	return nil
}

// List returns the records of the namespace, newest first. Where one cannot be read, the
// error is an UnreadableError.
func (s *Store) List(ctx context.Context) ([]v1alpha1.MigrationRecord, error) {
	records, unread, err := s.Read(ctx)
	if err == nil && len(unread) > 0 {
		err = &UnreadableError{Records: unread}
	}
	if err != nil {
		return nil, err
	}
	return records, nil
}

// Read returns the records of the namespace, newest first, and which cannot be read.
func (s *Store) Read(ctx context.Context) ([]v1alpha1.MigrationRecord, []Unreadable, error) {
	configMaps, err := s.client.List(ctx, metav1.ListOptions{LabelSelector: Label})
	if err != nil {
		return nil, nil, fmt.Errorf("list migration records: %w", err)
	}
	var pieces map[string][]byte
	if slices.ContainsFunc(configMaps.Items, func(item corev1.ConfigMap) bool { return split(&item) }) {
		if pieces, err = s.pieces(ctx); err != nil {
			return nil, nil, err
		}
	}
	var records []v1alpha1.MigrationRecord
	var unread []Unreadable
	for i := range configMaps.Items {
		record, at, err := unpack(&configMaps.Items[i], pieces)
		if err != nil {
			unread = append(unread, unreadable(&configMaps.Items[i], err, errors.As(err, new(*foreignError))))
			continue
		}
		s.versions[record.ID], s.layouts[record.ID] = configMaps.Items[i].ResourceVersion, at
		records = append(records, *record)
	}
	slices.SortFunc(records, func(a, b v1alpha1.MigrationRecord) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(b.ID, a.ID))
	})
	return records, unread, nil
}

// pieces reads the pieces of all records of the namespace.
func (s *Store) pieces(ctx context.Context) (map[string][]byte, error) {
	parts, err := s.parts(ctx)
	pieces := map[string][]byte{}
	for _, item := range parts {
		pieces[item.Name] = item.BinaryData[partKey]
	}
	return pieces, err
}

func (s *Store) parts(ctx context.Context) ([]corev1.ConfigMap, error) {
	configMaps, err := s.client.List(ctx, metav1.ListOptions{LabelSelector: PartLabel})
	if err != nil {
		return nil, fmt.Errorf("list the parts of migration records: %w", err)
	}
	return configMaps.Items, nil
}

// Open returns the enrolments and simplifications among records that changed something and were
// not rolled back.
func Open(records []v1alpha1.MigrationRecord) []v1alpha1.MigrationRecord {
	return slices.DeleteFunc(slices.Clone(records), func(record v1alpha1.MigrationRecord) bool { return !open(record) })
}

// ToUndo returns those that are open, and those that are rolled back but for what other
// namespaces relied on: the next rollback looks at that again.
func ToUndo(records []v1alpha1.MigrationRecord) []v1alpha1.MigrationRecord {
	return slices.DeleteFunc(slices.Clone(records), func(record v1alpha1.MigrationRecord) bool { return !open(record) && len(record.Remains) == 0 })
}

func open(record v1alpha1.MigrationRecord) bool {
	return record.Operation != v1alpha1.OperationRollback && record.State != v1alpha1.RunRolledBack
}

// Chain returns a run with those that it goes on with, as far as they are among the
// records: the run itself first, the one that was begun with last.
func Chain(records []v1alpha1.MigrationRecord, run v1alpha1.MigrationRecord) []v1alpha1.MigrationRecord {
	chain := []v1alpha1.MigrationRecord{run}
	for range records {
		at := slices.IndexFunc(records, func(other v1alpha1.MigrationRecord) bool { return run.Resumes != "" && other.ID == run.Resumes })
		if at < 0 {
			break
		}
		run = records[at]
		chain = append(chain, run)
	}
	return chain
}

// Begun returns the run that the one at hand goes on with in the end, if it resumes one
// that is among the records.
func Begun(records []v1alpha1.MigrationRecord, run v1alpha1.MigrationRecord) v1alpha1.MigrationRecord {
	chain := Chain(records, run)
	return chain[len(chain)-1]
}

// Newest returns the newest record of each namespace, by name, from what is
// written on the ConfigMaps outside the record itself.
func Newest(ctx context.Context, client corev1client.ConfigMapsGetter) (map[string]v1alpha1.RecordSummary, error) {
	outlines, err := outlines(ctx, client)
	if err != nil {
		return nil, err
	}
	newest := map[string]v1alpha1.RecordSummary{}
	for namespace, runs := range outlines {
		newest[namespace] = v1alpha1.RecordSummary{ID: runs[0].ID, Operation: runs[0].Operation, State: runs[0].State, TakenOff: TakenOff(runs)}
	}
	return newest, nil
}

// Enrolled says of each namespace that has records, by name, whether something of an
// enrolment may be left in it: a run that is not rolled back, which one of a
// Service alone leaves, or a rollback that has not come through.
func Enrolled(ctx context.Context, client corev1client.ConfigMapsGetter) (map[string]bool, error) {
	outlines, err := outlines(ctx, client)
	if err != nil {
		return nil, err
	}
	enrolled := map[string]bool{}
	for namespace, runs := range outlines {
		newest := runs[0]
		back := newest.Operation == v1alpha1.OperationRollback && newest.State == v1alpha1.RunSucceeded
		enrolled[namespace] = !back || slices.ContainsFunc(runs, open)
	}
	return enrolled, nil
}

// outlines are the records of each namespace, newest first, as far as their ConfigMaps
// say them outside the records themselves.
func outlines(ctx context.Context, client corev1client.ConfigMapsGetter) (map[string][]v1alpha1.MigrationRecord, error) {
	configMaps, err := client.ConfigMaps(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: Label})
	if err != nil {
		return nil, fmt.Errorf("list migration records: %w", err)
	}
	items := configMaps.Items
	slices.SortFunc(items, func(a, b corev1.ConfigMap) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(b.Name, a.Name))
	})
	runs := map[string][]v1alpha1.MigrationRecord{}
	for _, item := range items {
		runs[item.Namespace] = append(runs[item.Namespace], outlineOf(&item))
	}
	return runs, nil
}
