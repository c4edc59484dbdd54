package plan

import (
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// takeBack takes out of a value, as somebody has changed it since, what a run had
// made of it, and leaves the rest: field by field of maps, and entry by entry of
// lists. It is not possible where the same was changed by both.
func takeBack(before, after, found any) (any, bool) {
	added := addedTexts(before, after)
	if len(added) > 0 && !holdsAny(found, added) {
		return found, true
	}
	back, possible := undo(before, after, found)
	if !possible || holdsAny(back, added) {
		return nil, false
	}
	return back, true
}

// undo makes the way back from after to before on what was found.
func undo(before, after, found any) (any, bool) {
	switch {
	case Equal(before, after), Equal(found, before):
		return found, true
	case Equal(found, after):
		return before, true
	}
	switch after := after.(type) {
	case map[string]any:
		return undoMap(before, after, found)
	case []any:
		return undoList(before, after, found)
	default:
		return nil, false
	}
}

func undoMap(before any, after map[string]any, value any) (any, bool) {
	was, is := before.(map[string]any)
	found, same := value.(map[string]any)
	if !same || before != nil && !is {
		return nil, false
	}
	keys := maps.Clone(after)
	maps.Copy(keys, was)
	back := maps.Clone(found)
	for key := range keys {
		part, possible := undo(was[key], after[key], found[key])
		if !possible {
			return nil, false
		}
		back[key] = part
		if part == nil {
			delete(back, key)
		}
	}
	if before == nil && len(back) == 0 {
		return nil, true
	}
	return back, true
}

func undoList(before any, after []any, value any) (any, bool) {
	was, is := before.([]any)
	found, same := value.([]any)
	if !same || before != nil && !is {
		return nil, false
	}
	var back []any
	switch {
	case areTexts(was) && areTexts(after) && areTexts(found):
		back = undoTexts(was, after, found)
	case len(found) == len(after) && (before == nil || len(was) == len(after)):
		for i := range found {
			var one any
			if before != nil {
				one = was[i]
			}
			part, possible := undo(one, after[i], found[i])
			if !possible {
				return nil, false
			}
			if part != nil {
				back = append(back, part)
			}
		}
	case len(was) == len(after):
		back = slices.Clone(found)
		for i := range after {
			if Equal(was[i], after[i]) {
				continue
			}
			at := slices.IndexFunc(back, func(one any) bool { return Equal(one, after[i]) })
			if at < 0 {
				return nil, false
			}
			back[at] = was[i]
		}
	default:
		return nil, false
	}
	if before == nil && len(back) == 0 {
		return nil, true
	}
	return back, true
}

// undoTexts takes out what was added, and puts back what was taken out.
func undoTexts(before, after, found []any) []any {
	back := slices.DeleteFunc(slices.Clone(found), func(text any) bool { return slices.Contains(after, text) && !slices.Contains(before, text) })
	for _, text := range before {
		if !slices.Contains(after, text) && !slices.Contains(back, text) {
			back = append(back, text)
		}
	}
	return back
}

func areTexts(list []any) bool {
	return !slices.ContainsFunc(list, func(one any) bool {
		_, is := one.(string)
		return !is
	})
}

// addedTexts are the texts in a value that were nowhere in it before.
func addedTexts(before, after any) []string {
	had := textsIn(before)
	return slices.DeleteFunc(textsIn(after), func(text string) bool { return slices.Contains(had, text) })
}

func holdsAny(value any, texts []string) bool {
	return slices.ContainsFunc(textsIn(value), func(text string) bool { return slices.Contains(texts, text) })
}

// textsIn are all texts in a value, each once and in order.
func textsIn(value any) []string {
	var texts []string
	switch value := value.(type) {
	case string:
		texts = []string{value}
	case map[string]any:
		for _, part := range value {
			texts = append(texts, textsIn(part)...)
		}
	case []any:
		for _, part := range value {
			texts = append(texts, textsIn(part)...)
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// takenBack is what a field is to become of which somebody has changed a part since.
// Of several runs, what the last one wrote counts.
func (f writtenField) takenBack(found any) (any, bool) {
	if _, whole := found.(map[string]any); !whole {
		return nil, false
	}
	var added []string
	for _, after := range f.after {
		added = append(added, addedTexts(f.before, after)...)
	}
	for _, after := range slices.Backward(f.after) {
		if back, possible := takeBack(f.before, after, found); possible && !holdsAny(back, added) {
			return back, true
		}
	}
	return nil, false
}

// keptField names a field that somebody else has changed. Of a whole spec that can no
// more be taken apart it says what is to be taken out of it by hand.
func (f writtenField) keptField(found any) v1alpha1.KeptField {
	written := f.after[len(f.after)-1]
	if _, whole := found.(map[string]any); whole {
		reason := "somebody has changed it since, so that it is left as it is"
		if added := addedTexts(f.before, written); len(added) > 0 {
			reason = "somebody has changed it since: take out of it by hand what the run had added, " + some(added) + ": " + editCommand(f.object)
		}
		return v1alpha1.KeptField{Object: f.object, Reason: reason}
	}
	return v1alpha1.KeptField{Object: f.object, Path: f.path, Expected: written, Found: found, Wanted: f.before}
}

// editCommand is what somebody runs to change an object by hand.
func editCommand(object v1alpha1.ObjectReference) string {
	return "kubectl edit -n " + object.Namespace + " " + shortName(object)
}
