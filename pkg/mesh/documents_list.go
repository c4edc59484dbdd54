package mesh

import (
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// list collects what a document says besides its items, and items that do not say
// of which kind they are, as the items of a PodList do. Whether it is a list at
// all may show at its end only: kubectl writes the fields in the order of their
// names.
type list struct {
	at     position
	header map[string]any
	// seen is true where there are items, if only an empty list of them.
	seen bool
	// bare is true for objects that follow each other without a list around.
	bare    bool
	pending []document
	// failure is about the first item that cannot be one.
	failure error
	yield   func(document) error
}

func newList(at position, yield func(document) error) *list {
	return &list{at: at, header: map[string]any{}, yield: yield}
}

// add takes an item in.
func (l *list) add(value any, at position) error {
	l.seen = true
	item, isObject := value.(map[string]any)
	if !isObject {
		l.fail(at.errorf("an item of the list is not an object"))
		return nil
	}
	one := document{content: item, at: at}
	if kind, _ := item["kind"].(string); kind != "" || l.bare {
		return l.hand(one)
	}
	if l.complete(item) {
		return l.hand(one)
	}
	l.pending = append(l.pending, one)
	return nil
}

func (l *list) fail(err error) {
	if l.failure == nil {
		l.failure = err
	}
}

// complete gives an item the kind that the kind of its list implies.
func (l *list) complete(item map[string]any) bool {
	of, isList := strings.CutSuffix(kindIn(l.header), "List")
	if !isList || of == "" {
		return false
	}
	item["kind"], item["apiVersion"] = of, l.header["apiVersion"]
	return true
}

// hand hands an item on; the items of a list in the list are as good as its own.
func (l *list) hand(one document) error {
	items, holdsItems := one.content["items"].([]any)
	if !holdsItems || !holds(kindIn(one.content)) {
		return l.yield(one)
	}
	delete(one.content, "items")
	inner := newList(one.at, l.yield)
	inner.header = one.content
	return inner.all(items)
}

// all takes all items of a list in.
func (l *list) all(items []any) error {
	l.seen = true
	for _, item := range items {
		if err := l.add(item, l.at); err != nil {
			return err
		}
	}
	return l.end()
}

// end hands on what had to wait until the kind of the document was known.
func (l *list) end() error {
	kind := kindIn(l.header)
	if kind != "" && (!holds(kind) || !l.seen && named(l.header)) || kind == "" && !l.seen {
		return l.object()
	}
	if l.header["items"] != nil {
		return l.at.errorf("items is not a list")
	}
	for _, item := range l.pending {
		if !l.complete(item.content) {
			l.fail(item.at.errorf("an item of the list has no kind: it is not a Kubernetes object"))
			break
		}
		if err := l.hand(item); err != nil {
			return err
		}
	}
	if l.failure != nil {
		return l.failure
	}
	return l.yield(document{content: l.header, at: l.at, list: true})
}

// object hands on a document that is no list: items is a field like any other,
// which means nothing here.
func (l *list) object() error {
	if len(l.header) == 0 {
		return nil
	}
	return l.yield(document{content: l.header, at: l.at})
}

// holds says whether objects of a kind hold others as their items.
func holds(kind string) bool {
	return strings.HasSuffix(kind, "List") || kind == v1alpha1.KindMeshSnapshot
}

func kindIn(content map[string]any) string {
	kind, _ := content["kind"].(string)
	return kind
}

// named tells an object of a kind such as AllowList from a list.
func named(content map[string]any) bool {
	metadata, _ := content["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	return name != ""
}
