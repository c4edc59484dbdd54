// Mutants plants mistakes in the model of who may call whom, and in what carries
// policies over, one at a time, and wants the tests to find each of them: a test
// that passes whatever the code does is no test.
//
// Of those in the model itself most have to be found by what a running istiod has
// decided: a mistake that only our own tests know of may be a misreading that they share.
//
//	go run ./internal/mutants [-only TEXT]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"time"
)

// leastByIstiod is how many mutants what istiod decides has to find.
const leastByIstiod = 30

func main() {
	only := flag.String("only", "", "plant only those of whose name or file this is a part")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	survivors, err := run(ctx, os.Stdout, *only)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case survivors > 0:
		fmt.Fprintf(os.Stderr, "%d mutants were not found by any test\n", survivors)
		os.Exit(1)
	}
}

// run plants the mutants, as many at a time as there are cores, tells of each by
// which test it was found, and counts those that none has found.
func run(ctx context.Context, out io.Writer, only string) (int, error) {
	var chosen []mutant
	for _, one := range mutants {
		if strings.Contains(one.what, only) || strings.Contains(one.file, only) {
			chosen = append(chosen, one)
		}
	}
	work, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	started := time.Now()
	var group sync.WaitGroup
	var mutex sync.Mutex
	var survivors, byIstiod int
	var failed error
	slots := make(chan struct{}, runtime.NumCPU())
	for i, one := range chosen {
		group.Go(func() {
			slots <- struct{}{}
			by, err := one.plant(ctx, work, i)
			<-slots
			mutex.Lock()
			defer mutex.Unlock()
			switch {
			case err != nil:
				failed = errors.Join(failed, fmt.Errorf("%s: %w", one.what, err))
				return
			case by == "":
				by = "NOBODY"
				survivors++
			case by == istiodFinds:
				byIstiod++
			}
			fmt.Fprintf(out, "%-32s %-58s %s\n", by, one.what, one.file)
		})
	}
	group.Wait()
	fmt.Fprintf(out, "%d mutants, %d found by what istiod decides, %d not found, in %s\n", len(chosen), byIstiod, survivors, time.Since(started).Round(time.Second))
	if only == "" && byIstiod < leastByIstiod {
		failed = errors.Join(failed, fmt.Errorf("what istiod decides finds %d mutants, and is to find %d at least", byIstiod, leastByIstiod))
	}
	return survivors, failed
}
