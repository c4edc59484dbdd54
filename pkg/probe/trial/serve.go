package trial

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// Serve answers 200 to every request on some addresses, until the context ends.
func Serve(ctx context.Context, addresses []string) error {
	var listeners []net.Listener
	for _, address := range addresses {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			for _, other := range listeners {
				err = errors.Join(err, other.Close())
			}
			return err
		}
		listeners = append(listeners, listener)
	}
	return serveOn(ctx, listeners)
}

// headersWithin bounds how long a client may take to ask.
const headersWithin = 10 * time.Second

func serveOn(ctx context.Context, listeners []net.Listener) error {
	server := &http.Server{
		ReadHeaderTimeout: headersWithin,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }),
	}
	failed := make(chan error, len(listeners))
	for _, listener := range listeners {
		go func() { failed <- server.Serve(listener) }()
	}
	select {
	case err := <-failed:
		return errors.Join(err, server.Close())
	case <-ctx.Done():
		return server.Close()
	}
}
