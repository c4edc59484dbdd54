package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
)

// Files are what a snapshot is taken from without a cluster.
type Files struct {
	// Names are files, directories and "-" for Stdin. Directories are read with
	// all below them: files that end in .yaml, .yml or .json.
	Names []string
	Stdin io.Reader
	// Namespace is that of objects which do not say theirs.
	Namespace string
	// Complete takes the files for all there is: what they do not hold is not
	// there. Otherwise plain files make no namespaced kind known, and of the
	// others those that they hold any of. A dump says itself what it covers.
	Complete bool
}

// ReadFiles collects the content of a snapshot from files: dumps that Dump wrote,
// what kubectl get -o yaml prints, manifests of a repository. Kinds that mean
// nothing here are kept by their metadata; Secrets are not looked into. An error
// names the file, the line and the document.
func ReadFiles(ctx context.Context, files Files) (Content, error) {
	if len(files.Names) == 0 {
		return Content{}, errors.New("there are no files to read")
	}
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
		from, stop := interruptible(ctx, r.files.Stdin)
		defer stop()
		return readDocuments("stdin", reader{ctx, from}, r.add)
	}
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("read files: %w", err)
	}
	if !info.IsDir() {
		return r.file(ctx, name)
	}
	paths, err := manifestsIn(name)
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

// manifestsIn finds the files below a directory that may hold objects, without
// what is hidden: .git, or the configuration of tools.
func manifestsIn(directory string) ([]string, error) {
	var paths []string
	// The separator makes it follow the directory itself, if that is a link.
	err := filepath.WalkDir(directory+string(filepath.Separator), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(entry.Name(), ".") && filepath.Clean(path) != filepath.Clean(directory)
		switch {
		case entry.IsDir() && hidden:
			return filepath.SkipDir
		case !entry.IsDir() && !hidden && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			paths = append(paths, path)
		}
		return nil
	})
	return paths, err
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

// interruptible reads on behalf of somebody who stops waiting once the context
// ends: a read of a terminal, or of a pipe that nobody writes to, does not end by
// itself. What is left behind then is one goroutine in that read.
func interruptible(ctx context.Context, from io.Reader) (piped io.Reader, stop func()) {
	read, write := io.Pipe()
	done := context.AfterFunc(ctx, func() { _ = write.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(write, from)
		// No error is the end of what there is to read.
		_ = write.CloseWithError(err)
	}()
	return read, func() {
		done()
		_ = read.Close()
	}
}

func (r *fileReading) finish() (Content, error) {
	if len(r.places) == 0 && r.header == nil {
		return Content{}, fmt.Errorf("%s: there is no object that a mesh is made of", strings.Join(r.files.Names, ", "))
	}
	if r.header != nil {
		r.content.fromDump(*r.header)
		return r.content, nil
	}
	r.cover()
	return r.content, nil
}
