package mesh_test

import (
	"reflect"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// No field may be left out of the comparison, such as one that is added later.
func TestEqualLooksAtEveryField(t *testing.T) {
	t.Run("workload", func(t *testing.T) { differsByEveryField(t, mesh.ZtunnelWorkload.Equal) })
	t.Run("service", func(t *testing.T) { differsByEveryField(t, mesh.ZtunnelService.Equal) })
}

func differsByEveryField[T any](t *testing.T, equal func(T, T) bool) {
	t.Helper()
	var plain T
	if !equal(plain, plain) {
		t.Error("it is not equal to itself")
	}
	for i := range reflect.TypeFor[T]().NumField() {
		var other T
		field := reflect.ValueOf(&other).Elem().Field(i)
		switch field.Kind() {
		case reflect.String:
			field.SetString("other")
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Slice:
			field.Set(reflect.ValueOf([]string{"other"}))
		default:
			t.Fatalf("a field is of kind %s", field.Kind())
		}
		if equal(plain, other) {
			t.Errorf("%s makes no difference", reflect.TypeFor[T]().Field(i).Name)
		}
	}
}
