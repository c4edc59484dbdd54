// Package controlplane runs a real Kubernetes and Istio control plane on
// loopback, without containers: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler, istiod and istioctl are built from their published modules
// and run as child processes. Nodes and pods are played by kwok, the CNI agent
// and ztunnel by doubles that run in this process and use the same interfaces
// as the originals.
//
// Build provides the programs, Start a control plane, InstallIstio a mesh. The
// doubles need no starting: they watch the cluster and come alive with the pods
// they play.
package controlplane
