package record

import (
	"fmt"
	"slices"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

// Unreadable is a record that cannot be read, as far as its ConfigMap tells.
type Unreadable struct {
	ID      string
	Object  v1alpha1.ObjectReference
	Started time.Time
	// Err is why, and names the ConfigMap.
	Err error
	// Foreign is true where it is not damaged, but of another version.
	Foreign bool
}

// foreignError says that a record is of a version that this tool does not read.
type foreignError struct{ text string }

func (e *foreignError) Error() string { return e.text }

func unreadable(configMap *corev1.ConfigMap, err error, foreign bool) Unreadable {
	return Unreadable{
		ID: outlineOf(configMap).ID, Started: configMap.CreationTimestamp.UTC(), Err: err, Foreign: foreign,
		Object: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: configMap.Namespace, Name: configMap.Name},
	}
}

// Remedy is what can be done about it.
func (u Unreadable) Remedy() string {
	if u.Foreign {
		return "use the version of kubectl ambient that wrote it"
	}
	return fmt.Sprintf("restore the ConfigMap, or look at it (kubectl get configmap -n %s %s -o yaml) and delete it, after which no rollback goes by it", u.Object.Namespace, u.Object.Name)
}

// Before says whether the run of the record began before another one.
func (u Unreadable) Before(run v1alpha1.MigrationRecord) bool {
	if !u.Started.Equal(run.Started) {
		return u.Started.Before(run.Started)
	}
	return u.ID < run.ID
}

// UnreadableError says that some records of a namespace cannot be read. Any of them may
// be that of the run that counts, so that nothing is to be done that goes by the records.
type UnreadableError struct{ Records []Unreadable }

func (e *UnreadableError) Error() string {
	first := e.Records[0]
	more := ""
	if others := len(e.Records) - 1; others > 0 {
		more = fmt.Sprintf(" (and %d more)", others)
	}
	return fmt.Sprintf("%v%s; it may be of the run that counts: %s", first.Err, more, first.Remedy())
}

// Unwrap is why each cannot be read.
func (e *UnreadableError) Unwrap() []error {
	var causes []error
	for _, one := range e.Records {
		causes = append(causes, one.Err)
	}
	return causes
}

// Past are the records of the runs that were made after all whose records cannot be read:
// these alone can be undone without knowing what those did.
func (e *UnreadableError) Past(records []v1alpha1.MigrationRecord) []v1alpha1.MigrationRecord {
	return slices.DeleteFunc(slices.Clone(records), func(run v1alpha1.MigrationRecord) bool {
		return slices.ContainsFunc(e.Records, func(one Unreadable) bool { return !one.Before(run) })
	})
}
