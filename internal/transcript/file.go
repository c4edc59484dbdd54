package transcript

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// line is one of a file: something that sightings have in common, which they name by
// its number among its kind, or a sighting. From one stage to the next most of a mesh
// stays as it is.
type line struct {
	Object   *unstructured.Unstructured `json:"object,omitempty"`
	Pod      *metav1.ObjectMeta         `json:"pod,omitempty"`
	Request  *access.Request            `json:"request,omitempty"`
	Sighting *numbered                  `json:"sighting,omitempty"`
}

// numbered is a sighting with the numbers of what it has in common with others.
type numbered struct {
	Seed              uint64                   `json:"seed"`
	Stage             string                   `json:"stage"`
	Scope             mesh.Scope               `json:"scope"`
	Coverage          map[string]mesh.Coverage `json:"coverage"`
	HostNetwork       map[types.UID]bool       `json:"hostNetwork,omitempty"`
	KubernetesVersion string                   `json:"kubernetesVersion"`
	Objects           []int                    `json:"objects"`
	Pods              []int                    `json:"pods"`
	Calls             []numberedCall           `json:"calls"`
}

// numberedCall is a call whose request is named by its number.
type numberedCall struct {
	Call
	Request int
}

// pool numbers what has been written, by its text.
type pool map[string]int

// Write writes sightings. The file is the same for the same ones.
func Write(out io.Writer, sightings []Sighting) error {
	compressed, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(compressed)
	objects, pods, requests := pool{}, pool{}, pool{}
	for _, sighting := range sightings {
		content := &sighting.Content
		written := numbered{
			Seed: sighting.Seed, Stage: sighting.Stage,
			Scope: content.Scope, Coverage: content.Coverage, HostNetwork: content.HostNetwork, KubernetesVersion: content.KubernetesVersion,
		}
		for i := range content.Objects {
			number, err := objects.number(lines, line{Object: &content.Objects[i]})
			if err != nil {
				return err
			}
			written.Objects = append(written.Objects, number)
		}
		for i := range content.Pods {
			number, err := pods.number(lines, line{Pod: &content.Pods[i]})
			if err != nil {
				return err
			}
			written.Pods = append(written.Pods, number)
		}
		for _, call := range sighting.Calls {
			number, err := requests.number(lines, line{Request: &call.Request})
			if err != nil {
				return err
			}
			written.Calls = append(written.Calls, numberedCall{call, number})
		}
		if err := lines.Encode(line{Sighting: &written}); err != nil {
			return err
		}
	}
	return compressed.Close()
}

// number is that of what a line has, which is written where it is new.
func (p pool) number(lines *json.Encoder, of line) (int, error) {
	text, err := json.Marshal(of)
	if err != nil {
		return 0, err
	}
	if number, known := p[string(text)]; known {
		return number, nil
	}
	p[string(text)] = len(p)
	return len(p) - 1, lines.Encode(json.RawMessage(text))
}

// Read reads what Write wrote.
func Read(in io.Reader) ([]Sighting, error) {
	compressed, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	var common shared
	var sightings []Sighting
	for lines := json.NewDecoder(compressed); ; {
		var next line
		switch err := lines.Decode(&next); {
		case errors.Is(err, io.EOF):
			return sightings, nil
		case err != nil:
			return nil, err
		case next.Object != nil:
			common.objects = append(common.objects, *next.Object)
		case next.Pod != nil:
			common.pods = append(common.pods, *next.Pod)
		case next.Request != nil:
			common.requests = append(common.requests, *next.Request)
		case next.Sighting != nil:
			sighting, err := common.sighting(next.Sighting)
			if err != nil {
				return nil, fmt.Errorf("seed %d, %s: %w", next.Sighting.Seed, next.Sighting.Stage, err)
			}
			sightings = append(sightings, sighting)
		}
	}
}

// shared is what sightings have in common, by its number.
type shared struct {
	objects  []unstructured.Unstructured
	pods     []metav1.ObjectMeta
	requests []access.Request
}

func (s *shared) sighting(of *numbered) (Sighting, error) {
	made := Sighting{Seed: of.Seed, Stage: of.Stage, Content: mesh.Content{
		Scope: of.Scope, Coverage: of.Coverage, HostNetwork: of.HostNetwork, KubernetesVersion: of.KubernetesVersion,
	}}
	var err error
	if made.Content.Objects, err = pick(s.objects, of.Objects); err != nil {
		return made, fmt.Errorf("objects: %w", err)
	}
	if made.Content.Pods, err = pick(s.pods, of.Pods); err != nil {
		return made, fmt.Errorf("pods: %w", err)
	}
	for _, written := range of.Calls {
		request, err := pick(s.requests, []int{written.Request})
		if err != nil {
			return made, fmt.Errorf("requests: %w", err)
		}
		call := written.Call
		call.Request = request[0]
		made.Calls = append(made.Calls, call)
	}
	return made, nil
}

func pick[T any](from []T, numbers []int) ([]T, error) {
	picked := make([]T, len(numbers))
	for i, number := range numbers {
		if number < 0 || number >= len(from) {
			return nil, fmt.Errorf("number %d of %d", number, len(from))
		}
		picked[i] = from[number]
	}
	return picked, nil
}
