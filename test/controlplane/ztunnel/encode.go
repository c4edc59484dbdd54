package ztunnel

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

// encodeWorkload translates a workload as ztunnel does when it receives one
// (its src/state/workload.rs), with ztunnel's defaults for what is left out.
func encodeWorkload(workload *workloadapi.Workload) (Workload, error) {
	if workload.TunnelProtocol == workloadapi.TunnelProtocol_LEGACY_ISTIO_MTLS {
		return Workload{}, fmt.Errorf("workload %s: unsupported tunnel protocol: legacy istio mtls", workload.Uid)
	}
	addresses, err := encodeAddresses(workload.Addresses)
	if err != nil {
		return Workload{}, fmt.Errorf("workload %s: %w", workload.Uid, err)
	}
	waypoint, err := encodeGateway(workload.Waypoint)
	if err != nil {
		return Workload{}, fmt.Errorf("waypoint of workload %s: %w", workload.Uid, err)
	}
	gateway, err := encodeGateway(workload.NetworkGateway)
	if err != nil {
		return Workload{}, fmt.Errorf("network gateway of workload %s: %w", workload.Uid, err)
	}
	return Workload{
		WorkloadIPs:           addresses,
		Waypoint:              waypoint,
		NetworkGateway:        gateway,
		Protocol:              encodeProtocol(workload.TunnelProtocol),
		NetworkMode:           encodeNetworkMode(workload.NetworkMode),
		UID:                   workload.Uid,
		Name:                  workload.Name,
		Namespace:             workload.Namespace,
		TrustDomain:           orDefault(workload.TrustDomain, "cluster.local"),
		ServiceAccount:        orDefault(workload.ServiceAccount, "default"),
		Network:               workload.Network,
		WorkloadName:          workload.WorkloadName,
		WorkloadType:          strings.ToLower(workload.WorkloadType.String()),
		CanonicalName:         workload.CanonicalName,
		CanonicalRevision:     workload.CanonicalRevision,
		Hostname:              workload.Hostname,
		Node:                  workload.Node,
		NativeTunnel:          workload.NativeTunnel,
		ApplicationTunnel:     encodeApplicationTunnel(workload.ApplicationTunnel),
		AuthorizationPolicies: workload.AuthorizationPolicies,
		Status:                encodeStatus(workload.Status),
		ClusterID:             orDefault(workload.ClusterId, "Kubernetes"),
		Locality:              encodeLocality(workload.Locality),
		Services:              slices.Sorted(maps.Keys(workload.Services)),
		Capacity:              encodeCapacity(workload),
	}, nil
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

func encodeAddress(address []byte) (netip.Addr, error) {
	result, ok := netip.AddrFromSlice(address)
	if !ok {
		return netip.Addr{}, fmt.Errorf("an address has %d bytes", len(address))
	}
	return result, nil
}

func encodeAddresses(addresses [][]byte) ([]string, error) {
	result := make([]string, 0, len(addresses))
	for _, address := range addresses {
		parsed, err := encodeAddress(address)
		if err != nil {
			return nil, err
		}
		result = append(result, parsed.String())
	}
	return result, nil
}

func encodeNetworkAddress(address *workloadapi.NetworkAddress) (string, error) {
	parsed, err := encodeAddress(address.Address)
	if err != nil {
		return "", err
	}
	return address.Network + "/" + parsed.String(), nil
}

func encodeGateway(gateway *workloadapi.GatewayAddress) (*GatewayAddress, error) {
	if gateway == nil {
		return nil, nil
	}
	result := &GatewayAddress{HBONEMTLSPort: encodePort(gateway.HboneMtlsPort)}
	switch destination := gateway.Destination.(type) {
	case *workloadapi.GatewayAddress_Address:
		address, err := encodeNetworkAddress(destination.Address)
		if err != nil {
			return nil, err
		}
		result.Destination = address
	case *workloadapi.GatewayAddress_Hostname:
		result.Destination = destination.Hostname.Namespace + "/" + destination.Hostname.Hostname
	default:
		return nil, fmt.Errorf("the gateway has no address")
	}
	return result, nil
}

func encodeProtocol(protocol workloadapi.TunnelProtocol) string {
	if protocol == workloadapi.TunnelProtocol_HBONE {
		return "HBONE"
	}
	return "TCP"
}

func encodeNetworkMode(mode workloadapi.NetworkMode) string {
	if mode == workloadapi.NetworkMode_HOST_NETWORK {
		return "HostNetwork"
	}
	return "Standard"
}

func encodeStatus(status workloadapi.WorkloadStatus) string {
	if status == workloadapi.WorkloadStatus_UNHEALTHY {
		return "Unhealthy"
	}
	return "Healthy"
}

func encodeApplicationTunnel(tunnel *workloadapi.ApplicationTunnel) *ApplicationTunnel {
	if tunnel == nil {
		return nil
	}
	result := &ApplicationTunnel{Protocol: tunnel.Protocol.String()}
	if tunnel.Port != 0 {
		port := encodePort(tunnel.Port)
		result.Port = &port
	}
	return result
}

func encodeLocality(locality *workloadapi.Locality) *Locality {
	if locality.GetRegion() == "" && locality.GetZone() == "" && locality.GetSubzone() == "" {
		return nil
	}
	return &Locality{Region: locality.Region, Zone: locality.Zone, Subzone: locality.Subzone}
}

func encodeCapacity(workload *workloadapi.Workload) uint32 {
	if workload.Capacity == nil {
		return 1
	}
	return workload.Capacity.Value
}

// encodePort cuts a port down to its 16 bits, as ztunnel does.
func encodePort(port uint32) uint16 {
	return uint16(port) //nolint:gosec // Ztunnel cuts as well.
}

func encodePorts(ports []*workloadapi.Port) map[uint16]uint16 {
	result := make(map[uint16]uint16, len(ports))
	for _, port := range ports {
		result[encodePort(port.ServicePort)] = encodePort(port.TargetPort)
	}
	return result
}

// encodeService translates a service as ztunnel does (its src/state/service.rs),
// without endpoints.
func encodeService(service *workloadapi.Service) (Service, error) {
	result := Service{
		Name:            service.Name,
		Namespace:       service.Namespace,
		Hostname:        service.Hostname,
		VIPs:            []string{},
		Ports:           encodePorts(service.Ports),
		Endpoints:       map[string]Endpoint{},
		SubjectAltNames: append([]string{}, service.SubjectAltNames...),
		LoadBalancer:    encodeLoadBalancer(service.LoadBalancing),
		IPFamilies:      encodeIPFamilies(service.IpFamilies),
		Canonical:       service.Canonical,
		Visibility:      encodeVisibility(service.Visibility),
	}
	for _, address := range service.Addresses {
		if err := result.addAddress(address); err != nil {
			return Service{}, fmt.Errorf("service %s/%s: %w", service.Namespace, service.Hostname, err)
		}
	}
	waypoint, err := encodeGateway(service.Waypoint)
	if err != nil {
		return Service{}, fmt.Errorf("waypoint of service %s/%s: %w", service.Namespace, service.Hostname, err)
	}
	result.Waypoint = waypoint
	for _, weighted := range service.WeightedWaypoints {
		destination, err := encodeGateway(weighted.Destination)
		if err != nil || destination == nil {
			return Service{}, fmt.Errorf("weighted waypoint of service %s/%s: %w", service.Namespace, service.Hostname, err)
		}
		result.WeightedWaypoints = append(result.WeightedWaypoints, WeightedWaypoint{Destination: *destination, Weight: weighted.Weight})
	}
	return result, nil
}

// addAddress adds an address, which is a range if its prefix is not the whole.
func (s *Service) addAddress(address *workloadapi.NetworkAddress) error {
	parsed, err := encodeAddress(address.Address)
	if err != nil {
		return err
	}
	if address.Length == nil || int(*address.Length) == parsed.BitLen() {
		s.VIPs = append(s.VIPs, address.Network+"/"+parsed.String())
		return nil
	}
	prefix := netip.PrefixFrom(parsed, int(*address.Length))
	s.CIDRVIPs = append(s.CIDRVIPs, NetworkCIDR{Network: address.Network, CIDR: prefix.String()})
	return nil
}

var routingPreferences = map[workloadapi.LoadBalancing_Scope]string{
	workloadapi.LoadBalancing_REGION:  "Region",
	workloadapi.LoadBalancing_ZONE:    "Zone",
	workloadapi.LoadBalancing_SUBZONE: "Subzone",
	workloadapi.LoadBalancing_NODE:    "Node",
	workloadapi.LoadBalancing_CLUSTER: "Cluster",
	workloadapi.LoadBalancing_NETWORK: "Network",
}

var loadBalancerModes = map[workloadapi.LoadBalancing_Mode]string{
	workloadapi.LoadBalancing_UNSPECIFIED_MODE: "Standard",
	workloadapi.LoadBalancing_STRICT:           "Strict",
	workloadapi.LoadBalancing_FAILOVER:         "Failover",
	workloadapi.LoadBalancing_PASSTHROUGH:      "Passthrough",
}

var healthPolicies = map[workloadapi.LoadBalancing_HealthPolicy]string{
	workloadapi.LoadBalancing_ONLY_HEALTHY: "OnlyHealthy",
	workloadapi.LoadBalancing_ALLOW_ALL:    "AllowAll",
}

func encodeLoadBalancer(balancing *workloadapi.LoadBalancing) *LoadBalancer {
	if balancing == nil {
		return nil
	}
	result := &LoadBalancer{
		RoutingPreferences: []string{},
		Mode:               loadBalancerModes[balancing.Mode],
		HealthPolicy:       healthPolicies[balancing.HealthPolicy],
	}
	for _, scope := range balancing.RoutingPreference {
		result.RoutingPreferences = append(result.RoutingPreferences, routingPreferences[scope])
	}
	return result
}

func encodeIPFamilies(families workloadapi.IPFamilies) string {
	switch families {
	case workloadapi.IPFamilies_IPV4_ONLY:
		return "IPv4"
	case workloadapi.IPFamilies_IPV6_ONLY:
		return "IPv6"
	case workloadapi.IPFamilies_DUAL:
		return "Dual"
	default:
		return ""
	}
}

func encodeVisibility(visibility workloadapi.Service_Visibility) string {
	if visibility == workloadapi.Service_NAMESPACE {
		return "Namespace"
	}
	return "Public"
}

// encodePolicy translates a policy as ztunnel does (its src/rbac.rs). Empty
// rules, clauses and matches are kept: ztunnel skips an empty match, so that a
// rule whose only match is empty never holds.
func encodePolicy(policy *security.Authorization) Policy {
	result := Policy{
		Name:      policy.Name,
		Namespace: policy.Namespace,
		Scope:     encodeScope(policy.Scope),
		Action:    encodeAction(policy.Action),
		Rules:     [][][]Match{},
		DryRun:    policy.DryRun,
	}
	for _, group := range policy.Groups {
		clauses := [][]Match{}
		for _, rule := range group.Rules {
			matches := []Match{}
			for _, match := range rule.Matches {
				matches = append(matches, encodeMatch(match))
			}
			clauses = append(clauses, matches)
		}
		result.Rules = append(result.Rules, clauses)
	}
	return result
}

func encodeScope(scope security.Scope) string {
	switch scope {
	case security.Scope_NAMESPACE:
		return "Namespace"
	case security.Scope_WORKLOAD_SELECTOR:
		return "WorkloadSelector"
	default:
		return "Global"
	}
}

func encodeAction(action security.Action) string {
	if action == security.Action_DENY {
		return "Deny"
	}
	return "Allow"
}

func encodeMatch(match *security.Match) Match {
	return Match{
		Namespaces:          encodeStrings(match.Namespaces),
		NotNamespaces:       encodeStrings(match.NotNamespaces),
		ServiceAccounts:     encodeServiceAccounts(match.ServiceAccounts),
		NotServiceAccounts:  encodeServiceAccounts(match.NotServiceAccounts),
		Principals:          encodeStrings(match.Principals),
		NotPrincipals:       encodeStrings(match.NotPrincipals),
		SourceIPs:           encodePrefixes(match.SourceIps),
		NotSourceIPs:        encodePrefixes(match.NotSourceIps),
		DestinationIPs:      encodePrefixes(match.DestinationIps),
		NotDestinationIPs:   encodePrefixes(match.NotDestinationIps),
		DestinationPorts:    encodePortNumbers(match.DestinationPorts),
		NotDestinationPorts: encodePortNumbers(match.NotDestinationPorts),
	}
}

func encodeStrings(matches []*security.StringMatch) []StringMatch {
	var result []StringMatch
	for _, match := range matches {
		switch match := match.MatchType.(type) {
		case *security.StringMatch_Exact:
			result = append(result, StringMatch{Exact: &match.Exact})
		case *security.StringMatch_Prefix:
			result = append(result, StringMatch{Prefix: &match.Prefix})
		case *security.StringMatch_Suffix:
			result = append(result, StringMatch{Suffix: &match.Suffix})
		case *security.StringMatch_Presence:
			result = append(result, StringMatch{Presence: &[]struct{}{}})
		}
	}
	return result
}

func encodeServiceAccounts(matches []*security.ServiceAccountMatch) []ServiceAccountMatch {
	var result []ServiceAccountMatch
	for _, match := range matches {
		result = append(result, ServiceAccountMatch{Namespace: match.Namespace, ServiceAccount: match.ServiceAccount})
	}
	return result
}

// encodePrefixes leaves out what is no address, as ztunnel does.
func encodePrefixes(addresses []*security.Address) []string {
	var result []string
	for _, address := range addresses {
		parsed, err := encodeAddress(address.Address)
		if err != nil || int(address.Length) > parsed.BitLen() {
			continue
		}
		result = append(result, netip.PrefixFrom(parsed, int(address.Length)).String())
	}
	return result
}

func encodePortNumbers(ports []uint32) []uint16 {
	var result []uint16
	for _, port := range ports {
		result = append(result, encodePort(port))
	}
	return result
}
