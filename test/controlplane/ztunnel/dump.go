// Package ztunnel plays ztunnel, the node proxy of ambient mode, for tests. An
// instance subscribes to a real istiod as ztunnel does, takes pods from the CNI
// agent as ztunnel does, and serves what it knows in the form of ztunnel's
// /config_dump. It carries no traffic.
package ztunnel

// The types below have the fields, names and values that ztunnel emits: those
// of the serialized types in its src/state/workload.rs, src/state/service.rs,
// src/rbac.rs, src/admin.rs and src/inpod/admin.rs. What ztunnel leaves out
// when it has the default value is omitted here as well, and only that.

// Dump is the answer of /config_dump.
type Dump struct {
	Workloads      []Workload                     `json:"workloads"`
	Services       []Service                      `json:"services"`
	Policies       []Policy                       `json:"policies"`
	StagedServices map[string]map[string]Endpoint `json:"stagedServices"`
	StaticConfig   StaticConfig                   `json:"staticConfig"`
	Version        Version                        `json:"version"`
	Config         Config                         `json:"config"`
	Certificates   []Certificates                 `json:"certificates"`
	WorkloadState  map[string]WorkloadState       `json:"workloadState"`
}

// Workload is an endpoint of the mesh, usually a pod.
type Workload struct {
	WorkloadIPs           []string           `json:"workloadIps"`
	Waypoint              *GatewayAddress    `json:"waypoint,omitempty"`
	NetworkGateway        *GatewayAddress    `json:"networkGateway,omitempty"`
	Protocol              string             `json:"protocol"`
	NetworkMode           string             `json:"networkMode"`
	UID                   string             `json:"uid,omitempty"`
	Name                  string             `json:"name"`
	Namespace             string             `json:"namespace"`
	TrustDomain           string             `json:"trustDomain,omitempty"`
	ServiceAccount        string             `json:"serviceAccount,omitempty"`
	Network               string             `json:"network,omitempty"`
	WorkloadName          string             `json:"workloadName,omitempty"`
	WorkloadType          string             `json:"workloadType,omitempty"`
	CanonicalName         string             `json:"canonicalName,omitempty"`
	CanonicalRevision     string             `json:"canonicalRevision,omitempty"`
	Hostname              string             `json:"hostname,omitempty"`
	Node                  string             `json:"node,omitempty"`
	NativeTunnel          bool               `json:"nativeTunnel,omitempty"`
	ApplicationTunnel     *ApplicationTunnel `json:"applicationTunnel,omitempty"`
	AuthorizationPolicies []string           `json:"authorizationPolicies,omitempty"`
	Status                string             `json:"status"`
	ClusterID             string             `json:"clusterId"`
	Locality              *Locality          `json:"locality,omitempty"`
	Services              []string           `json:"services,omitempty"`
	Capacity              uint32             `json:"capacity"`
}

// GatewayAddress is where a waypoint or a gateway is reached.
type GatewayAddress struct {
	// Destination is "network/address" or "namespace/hostname".
	Destination   string `json:"destination"`
	HBONEMTLSPort uint16 `json:"hboneMtlsPort"`
}

// ApplicationTunnel says that a workload takes tunnels itself.
type ApplicationTunnel struct {
	Protocol string  `json:"protocol"`
	Port     *uint16 `json:"port"`
}

// Locality is where a workload runs.
type Locality struct {
	Region  string `json:"region"`
	Zone    string `json:"zone"`
	Subzone string `json:"subzone"`
}

// Service is a service with the endpoints that may be used.
type Service struct {
	Name              string              `json:"name"`
	Namespace         string              `json:"namespace"`
	Hostname          string              `json:"hostname"`
	VIPs              []string            `json:"vips"`
	CIDRVIPs          []NetworkCIDR       `json:"cidrVips,omitempty"`
	Ports             map[uint16]uint16   `json:"ports"`
	Endpoints         map[string]Endpoint `json:"endpoints"`
	SubjectAltNames   []string            `json:"subjectAltNames"`
	Waypoint          *GatewayAddress     `json:"waypoint,omitempty"`
	WeightedWaypoints []WeightedWaypoint  `json:"weightedWaypoints,omitempty"`
	LoadBalancer      *LoadBalancer       `json:"loadBalancer,omitempty"`
	IPFamilies        string              `json:"ipFamilies,omitempty"`
	Canonical         bool                `json:"canonical"`
	Visibility        string              `json:"visibility"`
}

// NetworkCIDR is a range of addresses in a network.
type NetworkCIDR struct {
	Network string `json:"network"`
	CIDR    string `json:"cidr"`
}

// Endpoint is a workload behind a service.
type Endpoint struct {
	WorkloadUID string            `json:"workloadUid"`
	Port        map[uint16]uint16 `json:"port"`
	Status      string            `json:"status"`
}

// WeightedWaypoint is one of several waypoints that share a service.
type WeightedWaypoint struct {
	Destination GatewayAddress `json:"destination"`
	Weight      uint32         `json:"weight"`
}

// LoadBalancer says how endpoints are chosen.
type LoadBalancer struct {
	RoutingPreferences []string `json:"routingPreferences"`
	Mode               string   `json:"mode"`
	HealthPolicy       string   `json:"healthPolicy"`
}

// Policy is an authorization policy. Its rules are matched rule by rule; all
// clauses of a rule must match, each by one of its matches.
type Policy struct {
	Name      string      `json:"name"`
	Namespace string      `json:"namespace"`
	Scope     string      `json:"scope"`
	Action    string      `json:"action"`
	Rules     [][][]Match `json:"rules"`
	DryRun    bool        `json:"dryRun"`
}

// Match is one alternative of a clause.
type Match struct {
	Namespaces          []StringMatch         `json:"namespaces,omitempty"`
	NotNamespaces       []StringMatch         `json:"notNamespaces,omitempty"`
	ServiceAccounts     []ServiceAccountMatch `json:"serviceAccounts,omitempty"`
	NotServiceAccounts  []ServiceAccountMatch `json:"notServiceAccounts,omitempty"`
	Principals          []StringMatch         `json:"principals,omitempty"`
	NotPrincipals       []StringMatch         `json:"notPrincipals,omitempty"`
	SourceIPs           []string              `json:"sourceIps,omitempty"`
	NotSourceIPs        []string              `json:"notSourceIps,omitempty"`
	DestinationIPs      []string              `json:"destinationIps,omitempty"`
	NotDestinationIPs   []string              `json:"notDestinationIps,omitempty"`
	DestinationPorts    []uint16              `json:"destinationPorts,omitempty"`
	NotDestinationPorts []uint16              `json:"notDestinationPorts,omitempty"`
}

// StringMatch has exactly one member.
type StringMatch struct {
	Exact  *string `json:"Exact,omitempty"`
	Prefix *string `json:"Prefix,omitempty"`
	Suffix *string `json:"Suffix,omitempty"`
	// Presence points to an empty list, the form in which ztunnel serializes a
	// variant without content.
	Presence *[]struct{} `json:"Presence,omitempty"`
}

// ServiceAccountMatch matches the service account of the source.
type ServiceAccountMatch struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
}

// StaticConfig is what a configuration file adds, which is nothing here.
type StaticConfig struct {
	Workloads []Workload `json:"workloads"`
	Policies  []Policy   `json:"policies"`
	Services  []Service  `json:"services"`
}

// Version says what answers.
type Version struct {
	Version        string `json:"version"`
	GitRevision    string `json:"gitRevision"`
	RustVersion    string `json:"rustVersion"`
	BuildProfile   string `json:"buildProfile"`
	BuildStatus    string `json:"buildStatus"`
	IstioVersion   string `json:"istioVersion"`
	CryptoProvider string `json:"cryptoProvider"`
}

// Config holds those settings of ztunnel that mean something to its double.
type Config struct {
	Proxy         bool              `json:"proxy"`
	DNSProxy      bool              `json:"dnsProxy"`
	Network       string            `json:"network"`
	LocalNode     string            `json:"localNode"`
	ProxyMode     string            `json:"proxyMode"`
	ClusterID     string            `json:"clusterId"`
	ClusterDomain string            `json:"clusterDomain"`
	CAAddress     string            `json:"caAddress"`
	XDSAddress    string            `json:"xdsAddress"`
	XDSOnDemand   bool              `json:"xdsOnDemand"`
	ProxyMetadata map[string]string `json:"proxyMetadata"`
}

// Certificates are what ztunnel holds for one identity.
type Certificates struct {
	Identity string `json:"identity"`
	// State is Available, Initializing or "Unavailable: " with the reason.
	State     string        `json:"state"`
	CertChain []Certificate `json:"certChain"`
	RootCerts []Certificate `json:"rootCerts"`
}

// Certificate is one certificate.
type Certificate struct {
	// PEM is encoded in base64 once more.
	PEM            string `json:"pem"`
	SerialNumber   string `json:"serialNumber"`
	ValidFrom      string `json:"validFrom"`
	ExpirationTime string `json:"expirationTime"`
}

// State is that of the proxy of a pod.
type State string

const (
	// StateUp means that the pod's traffic goes through ztunnel.
	StateUp State = "Up"
	// StatePending means that the proxy of the pod could not start yet.
	StatePending State = "Pending"
)

// WorkloadState is a pod that the CNI agent handed over.
type WorkloadState struct {
	State State `json:"state"`
	// Connections is missing while the state is pending.
	Connections *Connections `json:"connections,omitempty"`
	Info        WorkloadInfo `json:"info"`
}

// Connections are the open connections of a pod.
type Connections struct {
	Inbound  []struct{} `json:"inbound"`
	Outbound []struct{} `json:"outbound"`
}

// WorkloadInfo says which pod was handed over.
type WorkloadInfo struct {
	Name           string `json:"name"`
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
}
