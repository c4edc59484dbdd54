package e2e

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestUnreadableRecord: a record that cannot be read is named by whatever goes by the
// records, and passed over only by what knows that it may.
func TestUnreadableRecord(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "unreadable"
	before := c.shop(t, namespace)
	spoil := func(name string) {
		t.Helper()
		garbage := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{record.Label: "enroll"}}, BinaryData: map[string][]byte{"record.json.gz": []byte("x")}}
		if _, err := c.kube.CoreV1().ConfigMaps(namespace).Create(t.Context(), garbage, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(name string) {
		t.Helper()
		if err := c.kube.CoreV1().ConfigMaps(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	spoil("kubectl-ambient-00000000-old")
	named := "ConfigMap unreadable/kubectl-ambient-00000000-old: read the migration record in record.json.gz: "
	says(t, c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 1).stderr, named, "it may be of the run that counts: restore the ConfigMap, or look at it")
	c.wantState(t, namespace, before)
	remove("kubectl-ambient-00000000-old")

	c.ambient(t, "enroll", "-n", namespace, "--yes", "--until=enable-ambient").want(t, 0)
	halfway := c.state(t, namespace)
	spoil("kubectl-ambient-99999999-new")
	for _, arguments := range [][]string{{"enroll", "--yes", "--resume"}, {"rollback", "--yes"}, {"simplify", "--yes"}} {
		says(t, c.ambient(t, append(arguments, "-n", namespace)...).want(t, 1).stderr, "ConfigMap unreadable/kubectl-ambient-99999999-new", "it may be of the run that counts")
		c.wantState(t, namespace, halfway)
	}
	run := c.ambient(t, "history", "-n", namespace).want(t, 0)
	says(t, run.stdout, "succeeded", "unreadable: ConfigMap unreadable/kubectl-ambient-99999999-new")
	says(t, c.ambient(t, "history", "-n", namespace, "99999999-new").want(t, 1).stderr, "ConfigMap unreadable/kubectl-ambient-99999999-new")
	var history v1alpha1.MigrationHistory
	decode(t, c.ambient(t, "history", "-n", namespace, "-o", "json").want(t, 0).stdout, &history)
	if len(history.Runs) != 1 || len(history.Unreadable) != 1 || history.Unreadable[0].ID != "99999999-new" {
		t.Fatalf("the history is %+v", history)
	}
	oldest := history.Runs[0].ID
	// What cannot be read was made after the run that is named.
	says(t, c.ambient(t, "rollback", "-n", namespace, "--yes", "--run", oldest).want(t, 1).stderr, "it may be of the run that counts")
	c.wantState(t, namespace, halfway)
	verified := c.ambient(t, "verify", "-n", namespace).want(t, 3)
	says(t, verified.stdout, "unknown  handed-over", "unreadable/kubectl-ambient-99999999-new")
	remove("kubectl-ambient-99999999-new")

	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	spoil("kubectl-ambient-99999999-new")
	pruned := c.ambient(t, "history", "prune", "-n", namespace, "--yes").want(t, 0)
	says(t, pruned.stdout, "Deleted 2 records")
	says(t, pruned.stderr, "Left alone, since it cannot be read:", "ConfigMap unreadable/kubectl-ambient-99999999-new")
	if _, err := c.kube.CoreV1().ConfigMaps(namespace).Get(t.Context(), "kubectl-ambient-99999999-new", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}
