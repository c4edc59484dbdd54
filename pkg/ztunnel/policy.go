package ztunnel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// policy is an authorization policy as ztunnel writes it, and as istiod does: the
// names differ in case, and what ztunnel calls rules are groups to istiod (istio
// pkg/workloadapi/security/authorization.proto, ztunnel src/rbac.rs).
type policy struct {
	Name      string      `json:"name"`
	Namespace string      `json:"namespace"`
	Scope     string      `json:"scope"`
	Action    string      `json:"action"`
	DryRun    bool        `json:"dryRun"`
	Rules     [][][]match `json:"rules"`
	Groups    []group     `json:"groups"`
}

type group struct {
	Rules []struct {
		Matches []match `json:"matches"`
	} `json:"rules"`
}

// match is one alternative of a clause. Its lists are in the order in which istiod
// sent them.
type match struct {
	Namespaces          []text    `json:"namespaces,omitempty"`
	NotNamespaces       []text    `json:"notNamespaces,omitempty"`
	ServiceAccounts     []account `json:"serviceAccounts,omitempty"`
	NotServiceAccounts  []account `json:"notServiceAccounts,omitempty"`
	Principals          []text    `json:"principals,omitempty"`
	NotPrincipals       []text    `json:"notPrincipals,omitempty"`
	SourceIPs           []prefix  `json:"sourceIps,omitempty"`
	NotSourceIPs        []prefix  `json:"notSourceIps,omitempty"`
	DestinationIPs      []prefix  `json:"destinationIps,omitempty"`
	NotDestinationIPs   []prefix  `json:"notDestinationIps,omitempty"`
	DestinationPorts    []uint16  `json:"destinationPorts,omitempty"`
	NotDestinationPorts []uint16  `json:"notDestinationPorts,omitempty"`
}

type account struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
}

// text is how a text is matched, as "kind:text".
type text string

func (t *text) UnmarshalJSON(data []byte) error {
	var kinds map[string]json.RawMessage
	if err := json.Unmarshal(data, &kinds); err != nil {
		return err
	}
	for kind, of := range kinds {
		kind = strings.ToLower(kind)
		if kind == "presence" {
			*t = "presence"
			return nil
		}
		var value string
		if err := json.Unmarshal(of, &value); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		*t = text(kind + ":" + value)
	}
	return nil
}

// prefix is a range of addresses: text to ztunnel, bytes and a length to istiod.
type prefix string

func (p *prefix) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(`"`)) {
		return json.Unmarshal(data, (*string)(p))
	}
	var parts struct {
		Address []byte `json:"address"`
		Length  int    `json:"length"`
	}
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	address, valid := netip.AddrFromSlice(parts.Address)
	if !valid {
		return fmt.Errorf("%d bytes are no address", len(parts.Address))
	}
	*p = prefix(netip.PrefixFrom(address, parts.Length).String())
	return nil
}

// canonical is the same text for the same policy, wherever it was read.
func (p policy) canonical() string {
	rules := p.Rules
	for _, group := range p.Groups {
		clauses := [][]match{}
		for _, rule := range group.Rules {
			clauses = append(clauses, append([]match{}, rule.Matches...))
		}
		rules = append(rules, clauses)
	}
	if rules == nil {
		rules = [][][]match{}
	}
	// A struct of texts, numbers and lists can always be encoded.
	encoded, _ := json.Marshal(struct {
		Scope, Action string
		DryRun        bool
		Rules         [][][]match
	}{kind(p.Scope, "global"), kind(p.Action, "allow"), p.DryRun, rules})
	return string(encoded)
}

// kind is a value of an enumeration, which istiod writes as WORKLOAD_SELECTOR and
// leaves out where it is the first one, and ztunnel as WorkloadSelector.
func kind(value, first string) string {
	if value == "" {
		return first
	}
	return strings.ToLower(strings.ReplaceAll(value, "_", ""))
}
