package controlplane

import (
	"fmt"
	"os"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/authority"
)

// frontProxy is whom servers of aggregated APIs believe who asks.
const frontProxy = "front-proxy-client"

// identities are the certificates of a control plane.
type identities struct {
	authority *authority.Authority
	// frontAuthority issues frontProxy, and nothing else, as with kubeadm: what it has not
	// issued the API server tells apart at once, with each request.
	frontAuthority    *authority.Authority
	apiserver         authority.Pair
	kubelet           authority.Pair
	kubeletClient     authority.Pair
	egressClient      authority.Pair
	frontProxy        authority.Pair
	webhook           authority.Pair
	serviceAccounts   authority.Pair
	admin             authority.Pair
	controllerManager authority.Pair
	scheduler         authority.Pair
}

func newIdentities(directory string) (*identities, error) {
	if err := os.MkdirAll(directory, 0o750); err != nil {
		return nil, fmt.Errorf("creating the certificates: %w", err)
	}
	root, err := authority.New(directory, "kubernetes")
	if err != nil {
		return nil, err
	}
	front, err := authority.New(directory, "front-proxy")
	if err != nil {
		return nil, err
	}
	result := &identities{authority: root, frontAuthority: front}
	server := func(name string, hosts ...string) func() (authority.Pair, error) {
		return func() (authority.Pair, error) { return root.Server(name, hosts...) }
	}
	client := func(user string, groups ...string) func() (authority.Pair, error) {
		return func() (authority.Pair, error) { return root.Client(user, groups...) }
	}
	for _, identity := range []struct {
		pair  *authority.Pair
		issue func() (authority.Pair, error)
	}{
		{&result.apiserver, server("kube-apiserver", "127.0.0.1", "localhost", kubernetesAddress,
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")},
		{&result.kubelet, server("kubelet", "127.0.0.1")},
		{&result.webhook, server("webhook", "127.0.0.1")},
		{&result.kubeletClient, client("kube-apiserver-kubelet-client", "system:masters")},
		{&result.egressClient, client("kube-apiserver-egress-client")},
		{&result.frontProxy, func() (authority.Pair, error) { return front.Client(frontProxy) }},
		{&result.admin, client("kubernetes-admin", "system:masters")},
		{&result.controllerManager, client("system:kube-controller-manager")},
		{&result.scheduler, client("system:kube-scheduler")},
		{&result.serviceAccounts, func() (authority.Pair, error) { return root.SigningKey("service-accounts") }},
	} {
		if *identity.pair, err = identity.issue(); err != nil {
			return nil, err
		}
	}
	return result, nil
}
