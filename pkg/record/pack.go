package record

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// dataKey holds a whole record: JSON, gzip.
	dataKey = "record.json.gz"
	// headKey holds what is left of a record whose large parts are elsewhere. It
	// is another key, so that nobody takes a part of a record for all of it.
	headKey = "record-head.json.gz"
	// partKey holds a piece of a part.
	partKey = "part"
	// most is how large a packed record, or a piece of one, may be: an object of
	// 1 MiB, less what the rest of the ConfigMap needs.
	most = 1000 << 10
)

// PartLabel marks the ConfigMaps that hold pieces of a record; its value is the
// record's ID.
const PartLabel = "ambient.kubectl-ambient.dev/record-part"

// head is a record without what lies in ConfigMaps of its own.
type head struct {
	Record v1alpha1.MigrationRecord `json:"record"`
	layout
}

// layout says which parts of a record lie elsewhere. What has once been put there
// never changes: a plan, and the objects that a step found before it started.
type layout struct {
	// Plan is where the plan is; nil where it is in the record.
	Plan *part `json:"plan,omitempty"`
	// Baseline is where the baseline is; nil where it is in the record, or there is none.
	Baseline *part `json:"baseline,omitempty"`
	// Images are before-images of some steps.
	Images []imagesPart `json:"images,omitempty"`
}

// pieces are the names of the ConfigMaps that hold what lies elsewhere.
func (l layout) pieces() []string {
	var names []string
	if l.Plan != nil {
		names = append(names, l.Plan.Pieces...)
	}
	if l.Baseline != nil {
		names = append(names, l.Baseline.Pieces...)
	}
	for _, images := range l.Images {
		names = append(names, images.Pieces...)
	}
	return names
}

// part is a packed text that is cut into pieces, in order. The name of each bears
// its content, so that a piece is written once, whoever tries how often.
type part struct {
	Pieces []string `json:"pieces"`
}

// imagesPart holds the before-images of steps, by their places in the record.
type imagesPart struct {
	part
	Steps []int `json:"steps"`
}

// packed is a record as it is stored: the ConfigMap that stands for it, and the
// pieces that have to be there before.
type packed struct {
	head   *corev1.ConfigMap
	pieces []*corev1.ConfigMap
	layout layout
}

// pack writes a record, given what of it lies elsewhere already. Where it does not
// fit into one ConfigMap, the plan is put elsewhere first, after it the baseline, and
// then all before-images that are not there yet.
func pack(record *v1alpha1.MigrationRecord, at layout) (*packed, error) {
	result := &packed{layout: layout{Plan: at.Plan, Baseline: at.Baseline, Images: slices.Clone(at.Images)}}
	for {
		key, data, err := packHead(record, result.layout)
		if err != nil {
			return nil, err
		}
		if len(data) <= most {
			result.head = headOf(record, key, data)
			return result, nil
		}
		moved, err := result.moveOut(record)
		if err != nil {
			return nil, err
		}
		if !moved {
			return nil, fmt.Errorf("migration record %s is %d KiB packed without its plan, its baseline and its before-images, more than the %d KiB that one ConfigMap holds: the namespace has too many workloads",
				record.ID, len(data)>>10, most>>10)
		}
	}
}

// packHead packs what is not elsewhere.
func packHead(record *v1alpha1.MigrationRecord, at layout) (key string, data []byte, err error) {
	if at.Plan == nil {
		data, err = compress(record.ID, record)
		return dataKey, data, err
	}
	rest := *record
	if at.Baseline != nil {
		rest.Baseline = nil
	}
	rest.Plan = v1alpha1.MigrationPlan{}
	rest.Steps = slices.Clone(record.Steps)
	for _, images := range at.Images {
		for _, step := range images.Steps {
			rest.Steps[step].Before = nil
		}
	}
	data, err = compress(record.ID, head{Record: rest, layout: at})
	return headKey, data, err
}

// moveOut puts something elsewhere; it says whether there was anything left.
func (p *packed) moveOut(record *v1alpha1.MigrationRecord) (bool, error) {
	if p.layout.Plan == nil {
		plan, err := p.cut(record, record.Plan)
		p.layout.Plan = &plan
		return true, err
	}
	if p.layout.Baseline == nil && record.Baseline != nil {
		baseline, err := p.cut(record, record.Baseline)
		p.layout.Baseline = &baseline
		return true, err
	}
	out := map[int]bool{}
	for _, images := range p.layout.Images {
		for _, step := range images.Steps {
			out[step] = true
		}
	}
	var added imagesPart
	var images [][]v1alpha1.BeforeImage
	for i, step := range record.Steps {
		if len(step.Before) > 0 && !out[i] {
			added.Steps, images = append(added.Steps, i), append(images, step.Before)
		}
	}
	if len(images) == 0 {
		return false, nil
	}
	var err error
	added.part, err = p.cut(record, images)
	p.layout.Images = append(p.layout.Images, added)
	return true, err
}

// cut packs a value into pieces.
func (p *packed) cut(record *v1alpha1.MigrationRecord, value any) (part, error) {
	data, err := compress(record.ID, value)
	if err != nil {
		return part{}, err
	}
	var cut part
	for piece := range slices.Chunk(data, most) {
		sum := sha256.Sum256(piece)
		name := Name(record.ID) + "-" + hex.EncodeToString(sum[:6])
		cut.Pieces = append(cut.Pieces, name)
		immutable := true
		p.pieces = append(p.pieces, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: record.Namespace, Name: name, Labels: map[string]string{PartLabel: record.ID}},
			BinaryData: map[string][]byte{partKey: piece}, Immutable: &immutable,
		})
	}
	return cut, nil
}

func headOf(record *v1alpha1.MigrationRecord, key string, data []byte) *corev1.ConfigMap {
	stored := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: record.Namespace, Name: Name(record.ID), Labels: map[string]string{Label: string(record.Operation)},
		},
		// For people who look at the ConfigMap, and for Newest, which does not unpack
		// the record.
		Data: map[string]string{
			"operation": string(record.Operation), "state": string(record.State), "reason": record.Reason, "user": record.User,
		},
		BinaryData: map[string][]byte{key: data},
	}
	if service := record.Service(); service != "" {
		stored.Data[serviceKey] = service
	}
	if options := record.Plan.Options; options != nil && len(options.TakenOff) > 0 {
		stored.Data[takenOffKey] = strings.Join(options.TakenOff, ",")
	}
	return stored
}

func compress(id string, value any) ([]byte, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode migration record %s: %w", id, err)
	}
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write(data); err != nil {
		return nil, fmt.Errorf("pack migration record %s: %w", id, err)
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("pack migration record %s: %w", id, err)
	}
	return packed.Bytes(), nil
}

func decompress(data []byte, into any) error {
	text, err := expand(data)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func expand(data []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}

// ofThisVersion says of a packed record, or the head of one, whether it is of the version
// that this tool reads. It is asked before anything else is read of it: fields of another
// version need not fit, which would look like damage.
func ofThisVersion(data []byte) error {
	var versioned struct {
		v1alpha1.TypeMeta
		Record v1alpha1.TypeMeta `json:"record"`
	}
	if err := decompress(data, &versioned); err != nil {
		return err
	}
	switch version := cmp.Or(versioned.APIVersion, versioned.Record.APIVersion); version {
	case v1alpha1.GroupVersion:
		return nil
	case "":
		return errors.New("it says no version")
	default:
		return &foreignError{fmt.Sprintf("it is of version %q, this tool reads %s", version, v1alpha1.GroupVersion)}
	}
}

// keyOf is where a ConfigMap holds its record. Other versions may have other places for
// other forms.
func keyOf(configMap *corev1.ConfigMap) (string, error) {
	if split(configMap) {
		return headKey, nil
	}
	keys := slices.Sorted(maps.Keys(configMap.BinaryData))
	if len(keys) == 0 || slices.Contains(keys, dataKey) {
		return dataKey, nil
	}
	return keys[0], &foreignError{fmt.Sprintf("it is of another version: this tool reads %s and %s", dataKey, headKey)}
}

// split says whether parts of a record are elsewhere.
func split(configMap *corev1.ConfigMap) bool { return len(configMap.BinaryData[headKey]) > 0 }

// Unpack reads the record that a ConfigMap holds, with the pieces of it that are
// elsewhere, by name. The run started when the ConfigMap was created first: one that was
// restored from a backup is younger than the start that was stored in it.
func Unpack(configMap *corev1.ConfigMap, pieces map[string][]byte) (*v1alpha1.MigrationRecord, error) {
	record, _, err := unpack(configMap, pieces)
	return record, err
}

func unpack(configMap *corev1.ConfigMap, pieces map[string][]byte) (*v1alpha1.MigrationRecord, layout, error) {
	var read head
	key, err := keyOf(configMap)
	if err == nil {
		err = ofThisVersion(configMap.BinaryData[key])
	}
	switch {
	case err != nil:
	case key == headKey:
		err = read.read(configMap.BinaryData[key], pieces)
	default:
		err = decompress(configMap.BinaryData[key], &read.Record)
	}
	if err != nil {
		return nil, layout{}, fmt.Errorf("ConfigMap %s/%s: read the migration record in %s: %w", configMap.Namespace, configMap.Name, key, err)
	}
	if created := configMap.CreationTimestamp; !created.IsZero() && (read.Record.Started.IsZero() || created.Time.Before(read.Record.Started)) {
		read.Record.Started = created.UTC()
	}
	return &read.Record, read.layout, nil
}

// read puts a record together again.
func (h *head) read(data []byte, pieces map[string][]byte) error {
	if err := decompress(data, h); err != nil {
		return err
	}
	if h.Plan != nil {
		if err := h.Plan.read(pieces, &h.Record.Plan); err != nil {
			return err
		}
	}
	if h.Baseline != nil {
		h.Record.Baseline = &v1alpha1.Baseline{}
		if err := h.Baseline.read(pieces, h.Record.Baseline); err != nil {
			return err
		}
	}
	for _, part := range h.Images {
		var images [][]v1alpha1.BeforeImage
		if err := part.read(pieces, &images); err != nil {
			return err
		}
		if len(images) != len(part.Steps) {
			return fmt.Errorf("there are before-images of %d steps instead of %d", len(images), len(part.Steps))
		}
		for i, step := range part.Steps {
			if step < 0 || step >= len(h.Record.Steps) {
				return fmt.Errorf("there are before-images of step %d, of %d steps", step, len(h.Record.Steps))
			}
			h.Record.Steps[step].Before = images[i]
		}
	}
	return nil
}

func (p part) read(pieces map[string][]byte, into any) error {
	var data []byte
	for _, name := range p.Pieces {
		piece, found := pieces[name]
		if !found {
			return fmt.Errorf("its part in ConfigMap %s is missing", name)
		}
		data = append(data, piece...)
	}
	return decompress(data, into)
}
