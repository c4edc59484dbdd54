package controlplane

import (
	"bytes"
	"embed"
	"fmt"
	"strconv"
)

const (
	serviceNetwork    = "10.96.0.0/16"
	kubernetesAddress = "10.96.0.1"
	podNetwork        = "10.244.0.0/16"
	nodeNetwork       = "172.18.0.0/24"
)

// stages are what kwok does with nodes and pods, and what it says that pods use.
//
//go:embed stages/*.yaml
var stages embed.FS

func etcdArguments(directory string, client, peer int) []string {
	clientURL, peerURL := "http://"+loopback(client), "http://"+loopback(peer)
	return []string{
		"--data-dir=" + directory,
		"--listen-client-urls=" + clientURL,
		"--advertise-client-urls=" + clientURL,
		"--listen-peer-urls=" + peerURL,
		"--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=default=" + peerURL,
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

// apiserverArguments keep authorization, admission and storage as they are in
// production, and only the limits that would slow tests down are lifted.
func apiserverArguments(certificates *identities, etcd, port int, egress string) []string {
	return []string{
		"--etcd-servers=http://" + loopback(etcd),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + certificates.apiserver.CertificateFile,
		"--tls-private-key-file=" + certificates.apiserver.KeyFile,
		"--client-ca-file=" + certificates.authority.CertificateFile,
		"--authorization-mode=Node,RBAC",
		"--allow-privileged=true",
		"--service-cluster-ip-range=" + serviceNetwork,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + certificates.serviceAccounts.CertificateFile,
		"--service-account-signing-key-file=" + certificates.serviceAccounts.KeyFile,
		"--kubelet-client-certificate=" + certificates.kubeletClient.CertificateFile,
		"--kubelet-client-key=" + certificates.kubeletClient.KeyFile,
		"--kubelet-preferred-address-types=InternalIP",
		"--proxy-client-cert-file=" + certificates.frontProxy.CertificateFile,
		"--proxy-client-key-file=" + certificates.frontProxy.KeyFile,
		"--requestheader-client-ca-file=" + certificates.frontAuthority.CertificateFile,
		"--requestheader-allowed-names=" + frontProxy,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--egress-selector-config-file=" + egress,
		// Without fairness a fixed number of requests is served at once.
		"--enable-priority-and-fairness=false",
		"--max-requests-inflight=3000",
		"--max-mutating-requests-inflight=1000",
		"--profiling=false",
	}
}

func controllerManagerArguments(certificates *identities, kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--use-service-account-credentials=true",
		"--root-ca-file=" + certificates.authority.CertificateFile,
		"--cluster-signing-cert-file=" + certificates.authority.CertificateFile,
		"--cluster-signing-key-file=" + certificates.authority.KeyFile,
		"--service-account-private-key-file=" + certificates.serviceAccounts.KeyFile,
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
		"--concurrent-deployment-syncs=20",
		"--concurrent-replicaset-syncs=20",
		"--concurrent-statefulset-syncs=20",
		"--concurrent-daemonset-syncs=10",
		"--concurrent-job-syncs=10",
		"--concurrent-service-endpoint-syncs=20",
		"--profiling=false",
	}
}

// schedulerConfiguration is a file, because the flags for the rate of requests
// are deprecated.
func schedulerConfiguration(kubeconfig string) string {
	return fmt.Sprintf(`apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  leaderElect: false
clientConnection:
  kubeconfig: %q
  qps: 1000
  burst: 2000
enableProfiling: false
`, kubeconfig)
}

// kwokOptions names all options that matter, because kwok has no defaults for
// those that a configuration file leaves out: it would even refuse
// port-forwards.
const kwokOptions = `apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options:
  podPlayStageParallelism: 16
  nodePlayStageParallelism: 4
  nodeLeaseParallelism: 4
  podsOnNodeSyncParallelism: 8
  enableDebuggingHandlers: true
`

// kwokConfiguration joins kwok's options and stages, since it reads one file.
func kwokConfiguration() ([]byte, error) {
	documents := [][]byte{[]byte(kwokOptions)}
	for _, name := range []string{"stages/node.yaml", "stages/pod.yaml", "stages/usage.yaml"} {
		stage, err := stages.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("configuring kwok: %w", err)
		}
		documents = append(documents, stage)
	}
	return bytes.Join(documents, []byte("---\n")), nil
}

func kwokArguments(certificates *identities, kubeconfig, configuration string, port int) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--config=" + configuration,
		"--manage-all-nodes=true",
		"--cidr=" + podNetwork,
		"--node-port=" + strconv.Itoa(kubeletPort),
		"--server-address=" + loopback(port),
		"--tls-cert-file=" + certificates.kubelet.CertificateFile,
		"--tls-private-key-file=" + certificates.kubelet.KeyFile,
		"--node-lease-duration-seconds=40",
		"--enable-crds=PortForward,Logs",
	}
}

// metricsServerArguments have metrics-server ask kwok as often as it can.
func metricsServerArguments(certificates *identities, kubeconfig string, port int) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + certificates.webhook.CertificateFile,
		"--tls-private-key-file=" + certificates.webhook.KeyFile,
		"--kubelet-preferred-address-types=InternalIP",
		"--kubelet-insecure-tls",
		"--metric-resolution=10s",
		"--kubelet-request-timeout=5s",
	}
}

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
