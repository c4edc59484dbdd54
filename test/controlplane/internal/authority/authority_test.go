package authority

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
)

func load(t *testing.T, pair Pair) *x509.Certificate {
	t.Helper()
	loaded, err := tls.LoadX509KeyPair(pair.CertificateFile, pair.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Leaf
}

func TestIssuedCertificatesVerify(t *testing.T) {
	authority, err := New(t.TempDir(), "kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.Certificate())

	server, err := authority.Server("server", "127.0.0.1", "server.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "server.example"} {
		if _, err := load(t, server).Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	client, err := authority.Client("system:somebody", "group")
	if err != nil {
		t.Fatal(err)
	}
	leaf := load(t, client)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if leaf.Subject.CommonName != "system:somebody" || leaf.Subject.Organization[0] != "group" {
		t.Errorf("the subject is %s", leaf.Subject)
	}
}

func TestForeignCertificatesDoNotVerify(t *testing.T) {
	ours, err := New(t.TempDir(), "kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := New(t.TempDir(), "kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := theirs.Server("server", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ours.Certificate())
	if _, err := load(t, pair).Verify(x509.VerifyOptions{Roots: roots}); err == nil {
		t.Error("a certificate of another authority is accepted")
	}
}
