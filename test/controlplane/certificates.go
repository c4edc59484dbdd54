package controlplane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	securityv1alpha1 "istio.io/api/security/v1alpha1"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/ztunnel"
)

const (
	// certificateAudience is the audience of the tokens with which proxies ask
	// istiod for certificates.
	certificateAudience = "istio-ca"
	certificateLifetime = 24 * time.Hour
	certificateTimeout  = 10 * time.Second
)

// issueFor returns a function that asks istiod's certificate authority as the
// given ztunnel does: with a token bound to its pod, on behalf of a workload on
// its node. Istiod checks all of that.
func (c *ControlPlane) issueFor(pod *corev1.Pod) ztunnel.Issue {
	return func(ctx context.Context, identity string) (chain, roots []*x509.Certificate, err error) {
		ctx, cancel := context.WithTimeout(ctx, certificateTimeout)
		defer cancel()
		connection, err := c.dialCertificateAuthority(ctx, pod)
		if err != nil {
			return nil, nil, err
		}
		defer func() { _ = connection.Close() }()
		token, err := c.certificateToken(ctx, pod)
		if err != nil {
			return nil, nil, err
		}
		request, err := newCertificateRequest(identity)
		if err != nil {
			return nil, nil, err
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token, "clusterid", "Kubernetes")
		response, err := securityv1alpha1.NewIstioCertificateServiceClient(connection).CreateCertificate(ctx, request)
		if err != nil {
			return nil, nil, err
		}
		return parseChain(response.CertChain)
	}
}

// dialCertificateAuthority connects to the istiod that ztunnel's environment
// names, and verifies it as ztunnel does.
func (c *ControlPlane) dialCertificateAuthority(ctx context.Context, pod *corev1.Pod) (*grpc.ClientConn, error) {
	configured := environmentValue(pod, "CA_ADDRESS")
	host, _, err := net.SplitHostPort(configured)
	if err != nil {
		return nil, fmt.Errorf("CA_ADDRESS of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	address, err := c.network.resolve(ctx, configured)
	if err != nil {
		return nil, err
	}
	root, err := c.client.CoreV1().ConfigMaps(pod.Namespace).Get(ctx, "istio-ca-root-cert", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(root.Data["root-cert.pem"]))
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(
		credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: host})))
}

func environmentValue(pod *corev1.Pod, name string) string {
	for _, variable := range pod.Spec.Containers[0].Env {
		if variable.Name == name {
			return variable.Value
		}
	}
	return ""
}

func (c *ControlPlane) certificateToken(ctx context.Context, pod *corev1.Pod) (string, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences:      []string{certificateAudience},
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	token, err := c.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("requesting a token for pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return token.Status.Token, nil
}

func newCertificateRequest(identity string) (*securityv1alpha1.IstioCertificateRequest, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	uri, err := url.Parse(identity)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{uri}}, key)
	if err != nil {
		return nil, err
	}
	return &securityv1alpha1.IstioCertificateRequest{
		Csr:              string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})),
		ValidityDuration: int64(certificateLifetime.Seconds()),
		Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"ImpersonatedIdentity": structpb.NewStringValue(identity),
		}},
	}, nil
}

// parseChain takes the answer apart: its last element holds the roots.
func parseChain(encoded []string) (chain, roots []*x509.Certificate, err error) {
	if len(encoded) < 2 {
		return nil, nil, errors.New("the certificate authority returned no chain")
	}
	last := len(encoded) - 1
	if chain, err = parseCertificates(strings.Join(encoded[:last], "\n")); err != nil {
		return nil, nil, err
	}
	roots, err = parseCertificates(encoded[last])
	return chain, roots, err
}

func parseCertificates(encoded string) ([]*x509.Certificate, error) {
	var result []*x509.Certificate
	for block, rest := pem.Decode([]byte(encoded)); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		result = append(result, certificate)
	}
	return result, nil
}
