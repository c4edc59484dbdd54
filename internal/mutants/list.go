package main

// mutants are mistakes that somebody who writes such code might make.
var mutants = []mutant{
	{
		what: "the action of policies is dropped", file: "pkg/access/policy.go",
		old: "action:     object.Spec.GetAction(),",
		new: "action:     securityv1beta1.AuthorizationPolicy_ALLOW,",
	},
	{
		what: "ztunnel asks DENY after ALLOW", file: "pkg/access/ztunnel.go",
		old: `	if matching := matching(z.deny, f, formAmbient); matching != nil {`,
		new: `	for _, policy := range z.allow {
		if policy.matches(f, formAmbient) {
			return allowed
		}
	}
	if matching := matching(z.deny, f, formAmbient); matching != nil {`,
	},
	{
		what: "proxies ask DENY after ALLOW", file: "pkg/access/proxy.go",
		old: `	if matching := matching(p.deny, f, form); matching != nil {`,
		new: `	for _, policy := range p.allow {
		if policy.matches(f, form) {
			return decision
		}
	}
	if matching := matching(p.deny, f, form); matching != nil {`,
	},
	{
		what: "an empty match at ztunnel is taken as true", file: "pkg/access/rule.go",
		old: `	for _, conjunction := range c {`,
		new: `	if len(c) == 0 {
		return true
	}
	for _, conjunction := range c {`,
	},
	{
		what: "ztunnel keeps ALLOW rules that need HTTP", file: "pkg/access/ambient_rules.go",
		old: "if action == securityv1beta1.AuthorizationPolicy_ALLOW && needsHTTP(written) {",
		new: "if action == securityv1beta1.AuthorizationPolicy_AUDIT && needsHTTP(written) {",
	},
	{
		what: "proxies keep ALLOW rules that need HTTP on TCP ports", file: "pkg/access/proxy_rules.go",
		old: "if failed != nil && c.allow {",
		new: "if failed != nil && c.allow && !c.tcp {",
	},
	{
		what: "negations are dropped", file: "pkg/access/condition.go",
		old: `			return !c.negated`,
		new: `			return true`,
	},
	{
		what: "ztunnel takes notValues for values", file: "pkg/access/ambient_rules.go",
		old: "conditions.with(list.attribute, true, list.notValues)",
		new: "conditions.with(list.attribute, false, list.notValues)",
	},
	{
		what: "exact texts are taken for prefixes", file: "pkg/access/match.go",
		old: `		return equalText(value, pattern, fold)
	}`,
		new: `		return strings.HasPrefix(value, pattern)
	}`,
	},
	{
		what: "plaintext keeps the identity", file: "pkg/access/decide.go",
		old: "if way.secured || way.tunnelled {",
		new: "if call.Caller.Mode != ModeOutside {",
	},
	{
		what: "pods behind a waypoint see the client", file: "pkg/access/decide.go",
		old: "way.identity = way.waypoint.Identity",
		new: "way.identity = call.Caller.Identity",
	},
	{
		what: "STRICT is ignored", file: "pkg/access/decide.go",
		old: "&& server.mutual.refuses.Refuses(way.port) {",
		new: "&& server.mutual.refuses.Refuses(0) {",
	},
	{
		what: "headless Services go through the waypoint", file: "pkg/access/decide.go",
		old: "byService := service != nil && !service.Headless",
		new: "byService := service != nil",
	},
	{
		what: "callers with sidecars go through the waypoint", file: "pkg/access/decide.go",
		old: `		dialled := service
`,
		new: `		dialled := service
		if byService {
			way.waypoint = service.Waypoint
		}
`,
	},
	{
		what: "gateways always go through the waypoint", file: "pkg/access/decide.go",
		old: "if byService && service.IngressUsesWaypoint {",
		new: "if byService {",
	},
	{
		what: "a waypoint sees the pod's port", file: "pkg/access/decide.go",
		old: "destinations: destinations, port: call.Port, serverName: asked",
		new: "destinations: destinations, port: way.port, serverName: asked",
	},
	{
		what: "a pod sees the Service's port", file: "pkg/access/state.go",
		old: `			return s.targetOf(service, of)`,
		new: `			return port`,
	},
	{
		what: "sidecars ignore the root namespace", file: "pkg/access/attach.go",
		old: `	if a.namespace != namespace && !slices.Contains(roots, a.namespace) {`,
		new: `	if a.namespace != namespace {`,
	},
	{
		what: "ztunnel ignores the root namespace", file: "pkg/access/attach.go",
		old: `	if len(a.targets) > 0 || a.namespace != namespace && !slices.Contains(roots, a.namespace) {`,
		new: `	if len(a.targets) > 0 || a.namespace != namespace {`,
	},
	{
		what: "ztunnel honours targetRefs", file: "pkg/access/attach.go",
		old: `	if len(a.targets) > 0 || a.namespace`,
		new: `	if a.namespace`,
	},
	{
		what: "sidecars honour targetRefs", file: "pkg/access/attach.go",
		old: `	if len(a.targets) == 0 {`,
		new: `	if len(a.targets) >= 0 {`,
	},
	{
		what: "waypoints honour selectors", file: "pkg/access/attach.go",
		old: `	return slices.ContainsFunc(a.targets, func(target target) bool {
		return service`,
		new: `	return len(a.targets) == 0 || slices.ContainsFunc(a.targets, func(target target) bool {
		return service`,
	},
	{
		what: "dry-run is enforced", file: "pkg/access/policy.go",
		old: "compiled.dryRun, _ = strconv",
		new: "_, _ = strconv",
	},
	{
		what: "proxies drop an ALLOW without rules", file: "pkg/access/proxy.go",
		old: `		if !compiled.dryRun {
			p.allow`,
		new: `		if !compiled.dryRun && len(compiled.object.Spec.GetRules()) > 0 {
			p.allow`,
	},
	{
		what: "ztunnel drops an ALLOW without rules", file: "pkg/access/ztunnel.go",
		old: `	case compiled.action == securityv1beta1.AuthorizationPolicy_ALLOW:`,
		new: `	case compiled.action == securityv1beta1.AuthorizationPolicy_ALLOW && len(compiled.object.Spec.GetRules()) > 0:`,
	},
	{
		what: "bad tokens pass", file: "pkg/access/tokens.go",
		old: `		return false, nil`,
		new: `		return true, nil`,
	},
	{
		what: "prefixes are taken for suffixes", file: "pkg/access/match.go",
		old: "equalText(value[:len(prefix)], prefix, fold)",
		new: "equalText(value[len(value)-len(prefix):], prefix, fold)",
	},
	{
		what: "presence is taken for anything", file: "pkg/access/match.go",
		old: `return value != ""`,
		new: `return true`,
	},
	{
		what: "one clause of a rule is enough", file: "pkg/access/rule.go",
		old: `	for _, clause := range r {
		if !clause.holds(f) {
			return false
		}
	}
	return true`,
		new: `	for _, clause := range r {
		if clause.holds(f) {
			return true
		}
	}
	return len(r) == 0`,
	},
	{
		what: "all sources of a rule are needed", file: "pkg/access/rule.go",
		old: `	for _, conjunction := range c {
		if conjunction.holds(f) {
			return true
		}
	}
	return false`,
		new: `	for _, conjunction := range c {
		if !conjunction.holds(f) {
			return false
		}
	}
	return len(c) > 0`,
	},
	{
		what: "all rules of a policy are needed", file: "pkg/access/rule.go",
		old: `	for _, rule := range r {
		if rule.holds(f) {
			return true
		}
	}
	return false`,
		new: `	for _, rule := range r {
		if !rule.holds(f) {
			return false
		}
	}
	return len(r) > 0`,
	},
	{
		what: "callers without identity are in any namespace", file: "pkg/access/condition.go",
		old: "return f.identified() && c.matchesIdentity(v, f)",
		new: "return c.matchesIdentity(v, f) || !f.identified()",
	},
	{
		what: "tokens nobody looked at have a principal", file: "pkg/access/condition.go",
		old: "return f.accepted && v.issuer.matches(",
		new: "return v.issuer.matches(",
	},
	{
		what: "the case of hosts counts", file: "pkg/access/condition.go",
		old: "return matchString(v.text, f.request.Host, true)",
		new: "return matchString(v.text, f.request.Host, false)",
	},
	{
		what: "the case of methods does not count", file: "pkg/access/condition.go",
		old: "return matchString(v.text, f.request.Method, false)",
		new: "return matchString(v.text, f.request.Method, true)",
	},
	{
		what: "requests without token need one", file: "pkg/access/tokens.go",
		old: `if len(t.rules) == 0 || token.Issuer == "" || request.preflight() {`,
		new: `if len(t.rules) == 0 || request.preflight() {`,
	},
	{
		what: "tokens of issuers nobody knows pass", file: "pkg/access/tokens.go",
		old: `	return by != nil, by
`,
		new: `	return true, by
`,
	},
	{
		what: "accepted tokens are not forwarded", file: "pkg/access/proxy.go",
		old: "f.accepted, f.taken = by != nil, by != nil && !by.forwards",
		new: "f.accepted, f.taken = by != nil, by != nil",
	},
	{
		what: "CUSTOM policies let in", file: "pkg/access/proxy.go",
		old: `	if len(p.custom) == 0 {
		return allowed`,
		new: `	if len(p.custom) >= 0 {
		return allowed`,
	},
	{
		what: "ALLOW policies refuse nobody", file: "pkg/access/proxy.go",
		old: "	if len(p.allow) > 0 {\n",
		new: "	if len(p.allow) > 99 {\n",
	},
	{
		what: "a waypoint that was never ready takes traffic", file: "pkg/access/services.go",
		old: `	if !ready || b.overlay.AllSidecars {`,
		new: `	if !ready && said || b.overlay.AllSidecars {`,
	},
	{
		what: "what is meant goes through waypoints", file: "pkg/access/services.go",
		old: `	if !ready || b.overlay.AllSidecars {`,
		new: `	if !ready {`,
	},
	{
		what: "all that is let in is meant to be", file: "pkg/access/compare/table.go",
		old: `newlyAllowed, meant[i].admits(outcome)`,
		new: `newlyAllowed, true`,
	},
	{
		what: "the widest outcome is the narrowest", file: "pkg/access/compare/table.go",
		old: `	case o&allows != 0:
		return access.Allowed
	case o&delegates != 0:
		return access.Delegated
	default:
		return access.Denied
	}
}

func (o outcomes) narrowest`,
		new: `	case o&denies != 0:
		return access.Denied
	case o&delegates != 0:
		return access.Delegated
	default:
		return access.Allowed
	}
}

func (o outcomes) narrowest`,
	},
	{
		what: "what calls were is remembered for other callers", file: "pkg/access/compare/table.go",
		old: "key := memoKey{caller, one.keys[stage], modeKey(of.before), modeKey(of.now), modeKey(of.after), modeKey(of.meant)}",
		new: "key := memoKey{0, one.keys[stage], modeKey(of.before), modeKey(of.now), modeKey(of.after), modeKey(of.meant)}",
	},
	{
		what: "nobody waits for gateways", file: "pkg/access/compare/report.go",
		old: "return mode != access.ModeSidecar && mode != access.ModeGateway",
		new: "return mode != access.ModeSidecar",
	},
	{
		what: "copies lose their action", file: "pkg/translate/policies.go",
		old: "&securityv1beta1.AuthorizationPolicy{Action: policy.Spec.GetAction(), ActionDetail:",
		new: "&securityv1beta1.AuthorizationPolicy{ActionDetail:",
	},
	{
		what: "ports stay the pods'", file: "pkg/translate/rules.go",
		old: "operation.Ports = ports.translate(wanted);",
		new: "operation.Ports = wanted;",
	},
	{
		what: "notPorts stay the pods'", file: "pkg/translate/rules.go",
		old: "operation.NotPorts = ports.translate(unwanted)",
		new: "operation.NotPorts = unwanted",
	},
	{
		what: "ports of conditions stay the pods'", file: "pkg/translate/rules.go",
		old: "if condition.Values = ports.translate(wanted);",
		new: "if condition.Values = wanted;",
	},
	{
		what: "a rule for no port of a Service is one for all", file: "pkg/translate/rules.go",
		old: "if len(operations) == 0 && !every {",
		new: "if len(operations) == 0 && !every && len(ports) == 0 {",
	},
	{
		what: "copies of rules about HTTP hold for TCP", file: "pkg/translate/rules.go",
		old: `		one.Operation.Methods = []string{"*"}`,
		new: `		one.Operation.Methods = nil`,
	},
	{
		what: "a waypoint is admitted where nothing is", file: "pkg/translate/policies.go",
		old: "if policy.Spec.GetAction() != securityv1beta1.AuthorizationPolicy_ALLOW || dryRun(policy) || len(t.behind(selector)) == 0 {",
		new: "if dryRun(policy) || len(t.behind(selector)) == 0 {",
	},
	{
		what: "the waypoint is not admitted", file: "pkg/translate/policies.go",
		old: `		done[key] = true
`,
		new: `		if done[key] = true; done[key] {
			continue
		}
`,
	},
	{
		what: "guards are missing", file: "pkg/translate/guards.go",
		old: `	if len(spec.GetRules()) > 0 {
		t.addGuard`,
		new: `	if len(spec.GetRules()) > 99 {
		t.addGuard`,
	},
	{
		what: "guards refuse the waypoint", file: "pkg/translate/guards.go",
		old: "if spec.GetAction() == securityv1beta1.AuthorizationPolicy_DENY && len(t.principals) > 0 {",
		new: "if spec.GetAction() == securityv1beta1.AuthorizationPolicy_DENY && len(t.principals) > 99 {",
	},
	{
		what: "guards select pods with sidecars", file: "pkg/translate/guards.go",
		old: `narrowed := map[string]string{label.SidecarInject.Name: "false"}`,
		new: `narrowed := map[string]string{label.SidecarInject.Name: "false"}; clear(narrowed)`,
	},
	{
		what: "guards select all that moved", file: "pkg/translate/guards.go",
		old: `		narrowed[key] = value`,
		new: `		_, _ = key, value`,
	},
	{
		what: "settled guards select everything", file: "pkg/translate/guards.go",
		old: `		spec.Selector = workloadSelector(reach.selector)`,
		new: `		spec.Selector = workloadSelector(nil)`,
	},
	{
		what: "guards reach gateways", file: "pkg/translate/guards.go",
		old: `	if t.enforcing(selector) == "" {`,
		new: `	if t.enforcing(selector) == "" || selectsAny(selector, t.moving) {`,
	},
	{
		what: "settled guards of one workload select those of others", file: "pkg/translate/guards.go",
		old: `		maps.Copy(narrowed, one.matchLabels)`,
		new: `		_ = one.matchLabels`,
	},
	{
		what: "policies are not exempted", file: "pkg/translate/policies.go",
		old: `		exempt(rule, t.principals)
		if first`,
		new: `		if first`,
	},
	{
		what: "exemptions are for everybody", file: "pkg/translate/rules.go",
		old: "source.NotPrincipals = with(source.GetNotPrincipals(), waypoints)",
		new: `source.NotPrincipals = append(with(source.GetNotPrincipals(), waypoints), "*")`,
	},
	{
		what: "tokens are not passed on", file: "pkg/translate/authentication.go",
		old: "rule.ForwardOriginalToken = true",
		new: "rule.ForwardOriginalToken = false",
	},
	{
		what: "tokens are passed on for ever", file: "pkg/translate/authentication.go",
		old: `		t.translation.After = append(t.translation.After, final)`,
		new: `			_ = final`,
	},
	{
		what: "tokens are not guarded", file: "pkg/translate/authentication.go",
		old: `			t.guardTokens(extension)
`,
		new: `			_ = extension
`,
	},
	{
		what: "an ALLOW without rules has no copy", file: "pkg/translate/policies.go",
		old: "if spec.GetAction() != securityv1beta1.AuthorizationPolicy_ALLOW && len(spec.GetRules()) == 0 {",
		new: "if len(spec.GetRules()) == 0 {",
	},
	{
		what: "copies of dry-run policies are enforced", file: "pkg/translate/policies.go",
		old: `		annotate(content, annotation.IoIstioDryRun.Name, value)`,
		new: `		_ = value`,
	},
	{
		what: "copies name service accounts of another namespace", file: "pkg/translate/policies.go",
		old: `			qualify(translated, policy.Namespace)
`,
		new: "",
	},
	{
		what: "gateways pass by the waypoint", file: "pkg/translate/waypoints.go",
		old: `labels[label.IoIstioIngressUseWaypoint.Name] = "true"`,
		new: `labels[label.IoIstioIngressUseWaypoint.Name] = "false"`,
	},
	{
		what: "a second Service gets no copies", file: "pkg/translate/policies.go",
		old: `	for _, service := range services {
		if !dryRun`,
		new: `	for _, service := range services[:1] {
		if !dryRun`,
	},
	{
		what: "a shared waypoint gets the namespace's policies", file: "pkg/translate/policies.go",
		old: `	return !shared && t.`,
		new: `	return (shared || !shared) && t.`,
	},
	{
		what: "guards forget who calls", file: "pkg/translate/rules.go",
		old: `Principals: source.GetPrincipals(), NotPrincipals: source.GetNotPrincipals(),
			Namespaces`,
		new: "Namespaces",
	},
	{
		what: "what is left of a DENY with ports refuses the waypoint", file: "pkg/translate/policies.go",
		old: "return goesBySource(rule) || len(layer7Of(rule)) > 0 && (anyPorts(rule) ||",
		new: "return goesBySource(rule) || len(layer7Of(rule)) > 0 && (",
	},
	{
		what: "the waypoint of pods is one for Services", file: "pkg/translate/headless.go",
		old: "return t.waypointObjects(name.Name, mesh.TrafficWorkload, why)",
		new: "return t.waypointObjects(name.Name, mesh.TrafficService, why)",
	},
	{
		what: "ports are translated in front of pods", file: "pkg/translate/headless.go",
		old: `		copied := withoutExemption(rule, t.principals)
`,
		new: `		copied := behindService(rule, policy.Spec.GetAction(), behind.ports, t.principals)
		if copied == nil {
			continue
		}
`,
	},
	{
		what: "copies for pods are attached to their Service", file: "pkg/translate/headless.go",
		old: "spec.TargetRefs = []*typev1beta1.PolicyTargetReference{behind.target()}",
		new: "spec.TargetRefs = []*typev1beta1.PolicyTargetReference{{Kind: mesh.KindService, Name: behind.reference.Name}}",
	},
	{
		what: "pods that move do not name their waypoint", file: "pkg/plan/enroll.go",
		old: "		if joins {\n",
		new: "		if joins && !moves {\n",
	},
	{
		what: "what requests are is read at ports without HTTP", file: "pkg/translate/headless.go",
		old: "if len(plain) == 0 || proto.Equal(connection, rule) {",
		new: "if len(plain) >= 0 || proto.Equal(connection, rule) {",
	},
	{
		what: "guards cut off pods that do not name their waypoint yet", file: "pkg/plan/joining.go",
		old: "		if e.onlyJoining(object) {",
		new: "		if false && e.onlyJoining(object) {",
	},
	{
		what: "the identity of a waypoint of pods is taken for a caller's", file: "pkg/access/compare/compare.go",
		old: "if server.UseWaypoint != nil {",
		new: "if false {",
	},
}
