package ztunnel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Options say which ztunnel to play.
type Options struct {
	// Pod is the pod of ztunnel. It must run.
	Pod *corev1.Pod
	// XDSAddress returns the address of the istiod that the pod's environment
	// names, for a connection in plaintext.
	XDSAddress func(ctx context.Context, configured string) (string, error)
	// Issue gets a certificate from the certificate authority of the mesh.
	Issue Issue
	// IstioVersion is reported as ztunnel's version.
	IstioVersion string
	// Log takes what happens, line by line.
	Log io.Writer
	// ContainerLog is the file that the kubelet serves as the log of ztunnel's container.
	ContainerLog string
}

// Instance is one ztunnel.
type Instance struct {
	pod          *corev1.Pod
	environment  map[string]string
	config       Config
	version      Version
	store        *store
	client       *client
	certificates *certificates
	connections  connections
	containerLog containerLog
	listener     net.Listener
	server       *http.Server
	logMutex     sync.Mutex
	log          io.Writer
	cancel       context.CancelFunc
	running      sync.WaitGroup

	mutex    sync.Mutex
	captured map[types.UID]WorkloadState

	encodedMutex sync.Mutex
	encoded      encodedDump
}

// encodedDump is a dump as it was served last. In a cluster each ztunnel has a node of
// its own to encode it on; here they share one with what asks them.
type encodedDump struct {
	// generation and own are what it was made of: what istiod has told, and the rest.
	generation uint64
	own        []byte
	content    []byte
}

// Start starts a ztunnel, which subscribes to istiod at once and serves its
// admin interface on loopback until it is stopped. The subscription ends with
// the context as well.
func Start(ctx context.Context, options Options) (*Instance, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the double of %s/%s: %w", options.Pod.Namespace, options.Pod.Name, err)
	}
	environment := environmentOf(options.Pod)
	ctx, cancel := context.WithCancel(ctx)
	instance := &Instance{
		pod:          options.Pod,
		environment:  environment,
		config:       newConfig(options.Pod, environment, options.IstioVersion),
		version:      Version{Version: options.IstioVersion, BuildStatus: "Clean", BuildProfile: "release", IstioVersion: options.IstioVersion},
		store:        newStore(),
		containerLog: containerLog{path: options.ContainerLog},
		listener:     listener,
		log:          options.Log,
		cancel:       cancel,
		captured:     map[types.UID]WorkloadState{},
	}
	if err := instance.begin(); err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("starting the double of %s/%s: %w", options.Pod.Namespace, options.Pod.Name, err), listener.Close())
	}
	instance.certificates = newCertificates(options.Issue, instance.logf)
	instance.client = newClient(newNode(options.Pod, instance.config.ProxyMetadata),
		func(ctx context.Context) (string, error) { return options.XDSAddress(ctx, environment["XDS_ADDRESS"]) },
		instance.store, instance.refreshCertificates, instance.logf)
	instance.server = &http.Server{Handler: instance.handler(), ReadHeaderTimeout: 10 * time.Second}
	instance.running.Go(func() { _ = instance.server.Serve(listener) })
	instance.running.Go(func() { instance.client.run(ctx) })
	instance.running.Go(func() { instance.certificates.run(ctx) })
	return instance, nil
}

// Stop ends the ztunnel.
func (i *Instance) Stop() {
	i.cancel()
	_ = i.server.Close()
	i.running.Wait()
	i.containerLog.close()
}

// Address is where the admin interface and the metrics are served, which in a cluster
// are port 15000 of the pod's own loopback, and port 15020.
func (i *Instance) Address() string { return i.listener.Addr().String() }

// Node is the node that this ztunnel serves.
func (i *Instance) Node() string { return i.pod.Spec.NodeName }

// Pod is the pod that this instance plays.
func (i *Instance) Pod() *corev1.Pod { return i.pod }

// Synced is closed when istiod has answered both subscriptions.
func (i *Instance) Synced() <-chan struct{} { return i.client.synced }

// Capture takes a pod over from the CNI agent. The state is StateUp unless the
// proxy of the pod is made to fail.
func (i *Instance) Capture(uid types.UID, info WorkloadInfo, state State) {
	captured := WorkloadState{State: state, Info: info}
	if state == StateUp {
		captured.Connections = &Connections{Inbound: []struct{}{}, Outbound: []struct{}{}}
	}
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.captured[uid] = captured
}

// Release gives a pod back, if it was captured.
func (i *Instance) Release(uid types.UID) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	delete(i.captured, uid)
}

// Cut cuts the connection to istiod until it is restored. What is known stays known,
// as with ztunnel.
func (i *Instance) Cut() (restore func()) {
	i.client.line.set(true)
	return func() { i.client.line.set(false) }
}

// AgeCertificates shows all certificates as older than they are, until the returned
// function is called.
func (i *Instance) AgeCertificates(by time.Duration) (restore func()) {
	i.certificates.age(by)
	return func() { i.certificates.age(0) }
}

// Workloads returns the workloads that istiod sent, in the order of their uids.
func (i *Instance) Workloads() []Workload { return i.store.sortedWorkloads() }

// Services returns the services that istiod sent.
func (i *Instance) Services() []Service {
	services, _ := i.store.sortedServices()
	return services
}

// Policies returns the policies that istiod sent, in the order of their names.
func (i *Instance) Policies() []Policy { return i.store.sortedPolicies() }

// Captured returns the pods that the CNI agent handed over, by their uids.
func (i *Instance) Captured() map[types.UID]WorkloadState {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return maps.Clone(i.captured)
}

// Dump returns what /config_dump serves.
func (i *Instance) Dump() Dump {
	services, staged := i.store.sortedServices()
	captured := map[string]WorkloadState{}
	for uid, state := range i.Captured() {
		captured[string(uid)] = state
	}
	return Dump{
		Workloads:      i.Workloads(),
		Services:       services,
		Policies:       i.Policies(),
		StagedServices: staged,
		StaticConfig:   StaticConfig{Workloads: []Workload{}, Policies: []Policy{}, Services: []Service{}},
		Version:        i.version,
		Config:         i.config,
		Certificates:   i.certificates.dump(),
		WorkloadState:  captured,
	}
}

// encode encodes the dump, unless it would be the one before.
func (i *Instance) encode() ([]byte, error) {
	i.encodedMutex.Lock()
	defer i.encodedMutex.Unlock()
	// What changes from here on is another generation.
	generation := i.store.generation()
	own, err := json.Marshal(map[string]any{"certificates": i.certificates.dump(), "workloadState": i.Captured()})
	if err != nil {
		return nil, err
	}
	if i.encoded.content != nil && generation == i.encoded.generation && bytes.Equal(own, i.encoded.own) {
		return i.encoded.content, nil
	}
	content, err := json.MarshalIndent(i.Dump(), "", "  ")
	if err != nil {
		return nil, err
	}
	i.encoded = encodedDump{generation, own, content}
	return content, nil
}

func (i *Instance) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/config_dump", i.serveDump)
	mux.HandleFunc("/metrics", i.serveMetrics)
	mux.HandleFunc("/stats/prometheus", i.serveMetrics)
	return mux
}

// serveDump answers in one piece with a known length, as ztunnel does.
func (i *Instance) serveDump(response http.ResponseWriter, _ *http.Request) {
	content, err := i.encode()
	if err != nil {
		i.logf("encoding the dump: %v", err)
		http.Error(response, err.Error(), http.StatusInternalServerError)
		return
	}
	response.Header().Set("Content-Type", "application/json")
	response.Header().Set("Content-Length", strconv.Itoa(len(content)))
	if _, err := response.Write(content); err != nil {
		i.logf("serving the dump: %v", err)
	}
}

func (i *Instance) logf(format string, arguments ...any) {
	i.logMutex.Lock()
	defer i.logMutex.Unlock()
	fmt.Fprintf(i.log, "%s %s: %s\n", time.Now().UTC().Format(time.RFC3339Nano), i.pod.Name, fmt.Sprintf(format, arguments...))
}

// refreshCertificates asks for the certificates that ztunnel keeps: those of
// all workloads on its node that speak HBONE, sidecars among them (its
// src/cert_fetcher.rs).
func (i *Instance) refreshCertificates() {
	identities := map[string]bool{}
	for _, workload := range i.Workloads() {
		if workload.Node == i.Node() && (workload.NativeTunnel || workload.Protocol == "HBONE") {
			identities[workload.Identity()] = true
		}
	}
	i.certificates.want(identities)
}

// Identity is the SPIFFE identity of the workload.
func (w Workload) Identity() string {
	return fmt.Sprintf("spiffe://%s/ns/%s/sa/%s", w.TrustDomain, w.Namespace, w.ServiceAccount)
}

// environmentOf returns those variables of ztunnel's container that are given
// as values.
func environmentOf(pod *corev1.Pod) map[string]string {
	environment := map[string]string{}
	for _, variable := range pod.Spec.Containers[0].Env {
		if variable.ValueFrom == nil {
			environment[variable.Name] = variable.Value
		}
	}
	return environment
}

// newConfig reads the environment as ztunnel's src/config.rs does. The version
// is part of the image's environment (pilot/docker/Dockerfile.ztunnel).
func newConfig(pod *corev1.Pod, environment map[string]string, istioVersion string) Config {
	metadata := map[string]string{"ISTIO_VERSION": istioVersion}
	for name, value := range environment {
		if name, found := strings.CutPrefix(name, "ISTIO_META_"); found {
			metadata[name] = value
		}
	}
	return Config{
		Proxy:         true,
		DNSProxy:      true,
		Network:       environment["NETWORK"],
		LocalNode:     pod.Spec.NodeName,
		ProxyMode:     "Shared",
		ClusterID:     orDefault(metadata["CLUSTER_ID"], "Kubernetes"),
		ClusterDomain: "cluster.local",
		CAAddress:     "https://" + environment["CA_ADDRESS"],
		XDSAddress:    "https://" + environment["XDS_ADDRESS"],
		ProxyMetadata: metadata,
	}
}

// newNode identifies ztunnel to istiod, which tells ztunnel from other proxies
// by the first part of the id.
func newNode(pod *corev1.Pod, metadata map[string]string) *core.Node {
	fields := map[string]*structpb.Value{
		"NAME":         structpb.NewStringValue(pod.Name),
		"NAMESPACE":    structpb.NewStringValue(pod.Namespace),
		"INSTANCE_IPS": structpb.NewStringValue(pod.Status.PodIP),
		"NODE_NAME":    structpb.NewStringValue(pod.Spec.NodeName),
	}
	for name, value := range metadata {
		fields[name] = structpb.NewStringValue(value)
	}
	return &core.Node{
		Id: fmt.Sprintf("ztunnel~%s~%s.%s~%s.svc.cluster.local",
			pod.Status.PodIP, pod.Name, pod.Namespace, pod.Namespace),
		Metadata: &structpb.Struct{Fields: fields},
	}
}
