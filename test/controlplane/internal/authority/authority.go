// Package authority issues the certificates with which the programs of a
// control plane recognize each other.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is that of all certificates: longer than any control plane is kept.
const lifetime = 10 * 365 * 24 * time.Hour

// Pair is a certificate and its key, as files.
type Pair struct {
	CertificateFile string
	KeyFile         string
}

// Authority is a certificate authority whose files live in one directory.
type Authority struct {
	Pair
	directory   string
	certificate *x509.Certificate
	key         crypto.Signer
}

// authorityBits is the size of the authority's own key, which is an RSA key as
// kubeadm makes them: the API server verifies the certificate of its client with
// each request, which takes a third of the time that an elliptic curve would.
const authorityBits = 2048

// New creates an authority of that name and writes its certificate and key.
func New(directory, name string) (*Authority, error) {
	key, err := rsa.GenerateKey(rand.Reader, authorityBits)
	if err != nil {
		return nil, fmt.Errorf("creating the certificate authority: %w", err)
	}
	template, err := newTemplate(name)
	if err != nil {
		return nil, fmt.Errorf("creating the certificate authority: %w", err)
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign
	authority := &Authority{directory: directory, certificate: template, key: key}
	authority.Pair, err = authority.sign(name+"-ca", template, key)
	if err != nil {
		return nil, fmt.Errorf("creating the certificate authority: %w", err)
	}
	authority.certificate.Raw, err = readCertificate(authority.CertificateFile)
	if err != nil {
		return nil, fmt.Errorf("creating the certificate authority: %w", err)
	}
	return authority, nil
}

// Client issues a certificate with which a client of the API server is known
// under the given user and groups.
func (a *Authority) Client(user string, groups ...string) (Pair, error) {
	template, err := newTemplate(user)
	if err != nil {
		return Pair{}, fmt.Errorf("issuing the certificate of %s: %w", user, err)
	}
	template.Subject.Organization = groups
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.issue(user, template)
}

// Server issues a certificate for a server that is reached under the given
// names and addresses.
func (a *Authority) Server(name string, hosts ...string) (Pair, error) {
	template, err := newTemplate(name)
	if err != nil {
		return Pair{}, fmt.Errorf("issuing the certificate of %s: %w", name, err)
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return a.issue(name, template)
}

// SigningKey writes a key for signing service account tokens, and its public
// part in place of the certificate.
func (a *Authority) SigningKey(name string) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("creating the key %s: %w", name, err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return Pair{}, fmt.Errorf("creating the key %s: %w", name, err)
	}
	return a.write(name, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), key)
}

// Certificate returns the authority's own certificate in PEM.
func (a *Authority) Certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

func newTemplate(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(lifetime),
	}, nil
}

func (a *Authority) issue(name string, template *x509.Certificate) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("issuing the certificate of %s: %w", name, err)
	}
	pair, err := a.sign(name, template, key)
	if err != nil {
		return Pair{}, fmt.Errorf("issuing the certificate of %s: %w", name, err)
	}
	return pair, nil
}

func (a *Authority) sign(name string, template *x509.Certificate, key crypto.Signer) (Pair, error) {
	certificate, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return Pair{}, err
	}
	return a.write(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), key)
}

func (a *Authority) write(name string, public []byte, key crypto.Signer) (Pair, error) {
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	base := filepath.Join(a.directory, fileName(name))
	pair := Pair{CertificateFile: base + ".crt", KeyFile: base + ".key"}
	if err := os.WriteFile(pair.CertificateFile, public, 0o600); err != nil {
		return Pair{}, err
	}
	return pair, os.WriteFile(pair.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600)
}

// fileName makes a user name such as system:kube-scheduler fit for a file.
func fileName(name string) string {
	base := []byte(name)
	for i, c := range base {
		if c == ':' || c == '/' {
			base[i] = '-'
		}
	}
	return string(base)
}

func readCertificate(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return block.Bytes, nil
}

// Read returns the contents of both files.
func (p Pair) Read() (certificate, key []byte, err error) {
	if certificate, err = os.ReadFile(p.CertificateFile); err != nil {
		return nil, nil, err
	}
	key, err = os.ReadFile(p.KeyFile)
	return certificate, key, err
}
