package ztunnel

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// retryInterval is how long a refused certificate is not asked for again.
const retryInterval = time.Second

// Issue gets a certificate for a SPIFFE identity: its chain, from the leaf on,
// and the roots to trust.
type Issue func(ctx context.Context, identity string) (chain, roots []*x509.Certificate, err error)

// certificates keeps a certificate for each identity that is wanted.
type certificates struct {
	issue Issue
	log   func(format string, arguments ...any)
	wake  chan struct{}

	mutex sync.Mutex
	held  map[string]Certificates
	// aged is by how much older certificates are shown than they are.
	aged time.Duration
}

func newCertificates(issue Issue, log func(string, ...any)) *certificates {
	return &certificates{issue: issue, log: log, wake: make(chan struct{}, 1), held: map[string]Certificates{}}
}

// want says which identities are wanted now. Others are forgotten.
func (c *certificates) want(identities map[string]bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	maps.DeleteFunc(c.held, func(identity string, _ Certificates) bool { return !identities[identity] })
	for identity := range identities {
		if _, known := c.held[identity]; !known {
			c.held[identity] = Certificates{Identity: identity, State: "Initializing", CertChain: []Certificate{}, RootCerts: []Certificate{}}
		}
	}
	c.wakeUp()
}

func (c *certificates) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run gets what is missing until the context ends.
func (c *certificates) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		if !c.fetchMissing(ctx) {
			time.AfterFunc(retryInterval, c.wakeUp)
		}
	}
}

// fetchMissing returns false if a certificate was refused.
func (c *certificates) fetchMissing(ctx context.Context) bool {
	complete := true
	for _, identity := range c.missing() {
		chain, roots, err := c.issue(ctx, identity)
		if ctx.Err() != nil {
			return true
		}
		fetched := Certificates{Identity: identity, State: "Available", CertChain: encodeCertificates(chain), RootCerts: encodeCertificates(roots)}
		if err != nil {
			c.log("no certificate for %s: %v", identity, err)
			fetched.State = fmt.Sprintf("Unavailable: %v", err)
			complete = false
		}
		c.mutex.Lock()
		if _, wanted := c.held[identity]; wanted {
			c.held[identity] = fetched
		}
		c.mutex.Unlock()
	}
	return complete
}

func (c *certificates) missing() []string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var result []string
	for identity, held := range c.held {
		if held.State != "Available" {
			result = append(result, identity)
		}
	}
	return result
}

// dump returns the certificates in the order of their identities.
func (c *certificates) dump() []Certificates {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	result := make([]Certificates, 0, len(c.held))
	for _, identity := range slices.Sorted(maps.Keys(c.held)) {
		held := c.held[identity]
		held.CertChain = slices.Clone(held.CertChain)
		for i := range held.CertChain {
			held.CertChain[i].ValidFrom = c.older(held.CertChain[i].ValidFrom)
			held.CertChain[i].ExpirationTime = c.older(held.CertChain[i].ExpirationTime)
		}
		result = append(result, held)
	}
	return result
}

// older is a time that this package has written, put back by as much as is asked for.
func (c *certificates) older(written string) string {
	read, err := time.Parse(time.RFC3339, written)
	if err != nil {
		return written
	}
	return read.Add(-c.aged).Format(time.RFC3339)
}

// age shows certificates as older than they are.
func (c *certificates) age(by time.Duration) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.aged = by
}

func encodeCertificates(list []*x509.Certificate) []Certificate {
	result := make([]Certificate, 0, len(list))
	for _, certificate := range list {
		encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
		result = append(result, Certificate{
			PEM:            base64.StdEncoding.EncodeToString(encoded),
			SerialNumber:   certificate.SerialNumber.String(),
			ValidFrom:      certificate.NotBefore.UTC().Format(time.RFC3339),
			ExpirationTime: certificate.NotAfter.UTC().Format(time.RFC3339),
		})
	}
	return result
}
