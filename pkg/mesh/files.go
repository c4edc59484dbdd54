package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// Files are what a snapshot is taken from without a cluster.
type Files struct {
	// Names are files, directories and "-" for Stdin. Directories are read with
	// all below them: files that end in .yaml, .yml or .json.
	Names []string
	Stdin io.Reader
	// Namespace is that of objects which do not say theirs.
	Namespace string
	// Complete takes the files for all there is: of a kind that they hold none
	// of, there is none. Otherwise such a kind is not known.
	Complete bool
}

// ReadFiles collects the content of a snapshot from files: dumps that Dump wrote,
// what kubectl get -o yaml prints, manifests of a repository. Kinds that mean
// nothing here are kept by their metadata; Secrets are not looked into. An error
// names the file, the line and the document.
func ReadFiles(ctx context.Context, files Files) (Content, error) {
	reading := &fileReading{
		files: files,
		content: Content{
			Scope: Scope{All: true}, Coverage: map[string]Coverage{}, HostNetwork: map[types.UID]bool{},
		},
		places: map[objectKey]place{},
	}
	for _, name := range files.Names {
		if err := reading.path(ctx, name); err != nil {
			return Content{}, err
		}
	}
	return reading.finish()
}

// Positions explains an error of NewSnapshot about content that was read from
// files: where the object stands.
func (c Content) Positions(err error) error {
	if len(c.positions) == 0 || err == nil {
		return err
	}
	var found []error
	for _, one := range flatten(err) {
		var of *ObjectError
		if errors.As(one, &of) {
			if at, known := c.positions[of.Object]; known {
				one = fmt.Errorf("%s: %w", at, one)
			}
		}
		found = append(found, one)
	}
	return errors.Join(found...)
}

func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

type fileReading struct {
	files   Files
	content Content
	places  map[objectKey]place
	// header is what a dump says of itself.
	header *v1alpha1.MeshSnapshot
	from   position
}

// objectKey identifies an object in whichever version it is written.
type objectKey struct {
	group, kind, namespace, name string
}

// place is where an object was found first.
type place struct {
	at    position
	index int
}

func (r *fileReading) path(ctx context.Context, name string) error {
	if name == "-" {
		if r.files.Stdin == nil {
			return errors.New("there is no standard input to read")
		}
		return readDocuments("stdin", reader{ctx, r.files.Stdin}, r.add)
	}
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("read files: %w", err)
	}
	if !info.IsDir() {
		return r.file(ctx, name)
	}
	var paths []string
	err = filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != name && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read files: %w", err)
	}
	if len(paths) == 0 {
		return fmt.Errorf("directory %s holds no files that end in .yaml, .yml or .json", name)
	}
	for _, path := range paths {
		if err := r.file(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

func (r *fileReading) file(ctx context.Context, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read files: %w", err)
	}
	// Closing a file that was only read cannot lose anything.
	defer func() { _ = file.Close() }()
	return readDocuments(path, reader{ctx, file}, r.add)
}

// reader ends with its context.
type reader struct {
	ctx  context.Context
	from io.Reader
}

func (r reader) Read(into []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(into)
}

func (r *fileReading) add(document document) error {
	fail := func(format string, arguments ...any) error {
		return &SyntaxError{at: document.at, err: fmt.Errorf(format, arguments...)}
	}
	object := unstructured.Unstructured{Object: document.content}
	kind, err := kindOf(document.content)
	if err != nil {
		return fail("%w", err)
	}
	if document.list {
		if kind.Group == v1alpha1.Group && kind.Kind == v1alpha1.KindMeshSnapshot {
			return r.addHeader(document)
		}
		return nil
	}
	if !Understood(kind.GroupKind()) {
		r.content.Objects = append(r.content.Objects, unrecognized(kind, document.content))
		return nil
	}
	if err := checkMetadata(document.content); err != nil {
		return fail("%s: %w", kind.Kind, err)
	}
	scoped := namespaced()[kind.GroupKind()]
	switch {
	case scoped && object.GetNamespace() == "":
		object.SetNamespace(r.defaultNamespace())
	case !scoped && object.GetNamespace() != "":
		object.SetNamespace("")
	}
	return r.addObject(object, document.at)
}

func (r *fileReading) defaultNamespace() string {
	if r.files.Namespace != "" {
		return r.files.Namespace
	}
	return metav1.NamespaceDefault
}

func (r *fileReading) addObject(object unstructured.Unstructured, at position) error {
	kind := object.GroupVersionKind()
	key := objectKey{kind.Group, kind.Kind, object.GetNamespace(), object.GetName()}
	first, again := r.places[key]
	if again {
		return r.addAgain(object, at, first)
	}
	if kind.Kind == KindPod && kind.Group == "" && object.Object["spec"] == nil {
		var metadata metav1.ObjectMeta
		if err := decode(&unstructured.Unstructured{Object: object.Object["metadata"].(map[string]any)}, &metadata); err != nil {
			return &SyntaxError{at: at, err: fmt.Errorf("Pod %s/%s: metadata: %w", key.namespace, key.name, err)}
		}
		r.places[key] = place{at: at, index: -1}
		r.content.Pods = append(r.content.Pods, metadata)
		return nil
	}
	r.places[key] = place{at: at, index: len(r.content.Objects)}
	if r.content.positions == nil {
		r.content.positions = map[v1alpha1.ObjectReference]position{}
	}
	r.content.positions[referenceOf(&object)] = at
	r.content.Add(object)
	return nil
}

// addAgain takes an object that is there already. Two readings of one object at
// different times are common in dumps: the newer one counts. Different manifests
// of one name, as the base and an overlay of a repository hold them, are not
// understood.
func (r *fileReading) addAgain(object unstructured.Unstructured, at position, first place) error {
	if first.index < 0 {
		return nil
	}
	redacted, lost := redact(object)
	before := r.content.Objects[first.index]
	if reflect.DeepEqual(before.Object, redacted.Object) {
		return nil
	}
	if before.GetUID() == "" || before.GetUID() != object.GetUID() {
		return &SyntaxError{at: at, err: fmt.Errorf("%s is in %s, too, and says something else there: pass one of the two, or what kustomize build prints",
			referenceOf(&object), first.at)}
	}
	order, err := resourceversion.CompareResourceVersion(before.GetResourceVersion(), object.GetResourceVersion())
	if err == nil && order < 0 {
		r.content.Objects[first.index] = redacted
		delete(r.content.Originals, referenceOf(&object))
		if lost {
			r.content.keepOriginal(object)
		}
	}
	return nil
}

func (r *fileReading) addHeader(document document) error {
	if r.header != nil {
		return &SyntaxError{at: document.at, err: fmt.Errorf("a second snapshot: the first is in %s", r.from)}
	}
	data, err := json.Marshal(document.content)
	if err != nil {
		return &SyntaxError{at: document.at, err: err}
	}
	header := v1alpha1.MeshSnapshot{}
	if err := json.Unmarshal(data, &header); err != nil {
		return &SyntaxError{at: document.at, err: fmt.Errorf("%s: %w", v1alpha1.KindMeshSnapshot, err)}
	}
	if header.APIVersion != v1alpha1.GroupVersion {
		return &SyntaxError{at: document.at, err: fmt.Errorf("the snapshot is of version %s: this version reads %s", header.APIVersion, v1alpha1.GroupVersion)}
	}
	r.header, r.from = &header, document.at
	return nil
}

// kindOf reads the kind of what should be an object.
func kindOf(content map[string]any) (schema.GroupVersionKind, error) {
	for _, field := range []string{"apiVersion", "kind"} {
		if value, set := content[field]; set {
			if _, isText := value.(string); !isText {
				return schema.GroupVersionKind{}, fmt.Errorf("%s is not a text", field)
			}
		}
	}
	return (&unstructured.Unstructured{Object: content}).GroupVersionKind(), nil
}

// checkMetadata wants metadata that the accessors of unstructured objects can
// read: they take a field of the wrong type for an absent one.
func checkMetadata(content map[string]any) error {
	metadata, isMap := content["metadata"].(map[string]any)
	if !isMap {
		return errors.New("metadata: it is missing, or not a map")
	}
	for _, field := range []string{"name", "namespace", "uid", "resourceVersion"} {
		if value, set := metadata[field]; set && value != nil {
			if _, isText := value.(string); !isText {
				return fmt.Errorf("metadata.%s: it is not a text", field)
			}
		}
	}
	if name, _ := metadata["name"].(string); name == "" {
		return errors.New("metadata.name: the object has no name")
	}
	for _, field := range []string{"labels", "annotations"} {
		if _, _, err := unstructured.NestedStringMap(metadata, field); err != nil && metadata[field] != nil {
			return fmt.Errorf("metadata.%s: it is not a map of texts", field)
		}
	}
	return nil
}

// unrecognized keeps what counts an object.
func unrecognized(kind schema.GroupVersionKind, content map[string]any) unstructured.Unstructured {
	object := unstructured.Unstructured{Object: map[string]any{}}
	object.SetGroupVersionKind(kind)
	if metadata, isMap := content["metadata"].(map[string]any); isMap {
		for _, field := range []string{"name", "namespace"} {
			if text, isText := metadata[field].(string); isText {
				_ = unstructured.SetNestedField(object.Object, text, "metadata", field)
			}
		}
	}
	return object
}

func (r *fileReading) finish() (Content, error) {
	if len(r.places) == 0 {
		return Content{}, fmt.Errorf("%s: there is no object that a mesh is made of", strings.Join(r.files.Names, ", "))
	}
	if r.header != nil {
		r.content.fromDump(*r.header)
		return r.content, nil
	}
	r.cover()
	return r.content, nil
}

// telling are the parts of kinds that every mesh has: where none is among the
// files, they are not of a whole cluster.
var telling = map[string]bool{IstioConfigMaps: true, IstiodDeployments: true, ZtunnelPods: true, CNIPods: true}

// cover decides which kinds the files tell of: those that they hold any of.
func (r *fileReading) cover() {
	kinds, parts := map[schema.GroupKind]bool{}, map[string]bool{}
	istiodPods := false
	for i := range r.content.Objects {
		object := &r.content.Objects[i]
		kind := object.GroupVersionKind().GroupKind()
		kinds[kind] = true
		istiodPods = istiodPods || kind.Kind == KindPod && object.GetLabels()["app"] == "istiod"
		for _, c := range collections() {
			if telling[c.key] && c.kind == kind.Kind && c.resource.Group == kind.Group && c.selects(object) {
				parts[c.key] = true
			}
		}
	}
	for _, c := range collections() {
		known := kinds[schema.GroupKind{Group: c.resource.Group, Kind: c.kind}] && (!telling[c.key] || parts[c.key])
		r.coverKey(c.key, known)
	}
	// Pods of one namespace say nothing of those of the mesh.
	r.coverKey(PodsMeshWide, istiodPods)
	if !istiodPods {
		r.coverKey(SidecarsWithoutTunnel, false)
	}
}

func (r *fileReading) coverKey(key string, known bool) {
	if known || r.files.Complete {
		r.content.Coverage[key] = Coverage{State: CoverageRead}
		return
	}
	r.content.Coverage[key] = Coverage{State: CoverageUnasked, Reason: "the files hold none"}
}

// selects says whether an object of the collection's kind is a part of it.
func (c collection) selects(object *unstructured.Unstructured) bool {
	byLabels, err := labels.Parse(c.selector)
	if err != nil || !byLabels.Matches(labels.Set(object.GetLabels())) {
		return false
	}
	byFields, err := fields.ParseSelector(c.fields)
	return err == nil && byFields.Matches(fields.Set{"metadata.name": object.GetName()})
}
