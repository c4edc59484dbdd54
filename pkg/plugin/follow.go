package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

const (
	// settling is how long after a change the mesh is read again: changes come
	// in flocks.
	settling = time.Second
	// refresh is how often it is read without any change that is watched.
	refresh = 30 * time.Second
	// clearScreen moves to the top left and clears what is below.
	clearScreen = "\x1b[H\x1b[2J"
)

// follow draws a picture of the cluster, and again whenever it has changed, until the
// context ends: that is how it is meant to end.
func (s *session) follow(ctx context.Context, draw func(context.Context, io.Writer) error) error {
	return s.drawn(ctx, s.changes(ctx), draw)
}

// drawn draws again whenever something signals a change. Once there is a picture, an API
// server that is away for a while does not end it; what is said below the picture then
// dates it.
func (s *session) drawn(ctx context.Context, changed <-chan struct{}, draw func(context.Context, io.Writer) error) error {
	var shown []byte
	away := false
	for {
		var text bytes.Buffer
		again := refresh
		err := draw(ctx, &text)
		switch {
		case errors.Is(err, context.Canceled):
			return nil
		case err != nil && shown != nil && actions.Passing(err):
			if !away {
				fmt.Fprintf(s.Streams.ErrOut, "this is how it was until %s, and is looked at again: %v\n", s.Now().Format(time.TimeOnly), err)
			}
			away, again = true, askAgain
		case err != nil:
			return err
		default:
			if away || !bytes.Equal(text.Bytes(), shown) {
				s.redraw(text.Bytes(), shown != nil)
			}
			shown, away = text.Bytes(), false
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(again):
		}
	}
}

func (s *session) redraw(text []byte, again bool) {
	switch {
	case s.OutTerminal:
		fmt.Fprint(s.Streams.Out, clearScreen)
	case again:
		fmt.Fprintln(s.Streams.Out)
	}
	// A pipe that nobody reads any more ends the process by its signal.
	_, _ = s.Streams.Out.Write(text)
}

// changes signals that a namespace or a pod has changed, a while after it has.
// Where they may not be watched, nothing is signalled.
func (s *session) changes(ctx context.Context) <-chan struct{} {
	raw, settled := make(chan struct{}, 1), make(chan struct{}, 1)
	signal := func(any) {
		select {
		case raw <- struct{}{}:
		default:
		}
	}
	factory := metadatainformer.NewFilteredSharedInformerFactory(s.meta, 0, metav1.NamespaceAll, nil)
	for _, resource := range []string{"namespaces", "pods"} {
		informer := factory.ForResource(schema.GroupVersionResource{Version: "v1", Resource: resource}).Informer()
		// The error could only be that the informer has ended.
		_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: signal, UpdateFunc: func(_, now any) { signal(now) }, DeleteFunc: signal,
		})
	}
	factory.Start(ctx.Done())
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-raw:
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(settling):
			}
			select {
			case settled <- struct{}{}:
			default:
			}
		}
	}()
	return settled
}
