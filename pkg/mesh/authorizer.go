package mesh

// Authorizer is what proxies ask whether a call may be made.
type Authorizer struct {
	// Service is whom they ask, as [NAMESPACE/]HOST; empty where it was left out of a dump.
	Service string
	// FailOpen is true where a call is let in that cannot be asked about.
	FailOpen bool
}

// authorizerKinds are the fields by which an extension provider is an external authorizer.
var authorizerKinds = []string{"envoyExtAuthzHttp", "envoyExtAuthzGrpc"}

// Authorizer returns the external authorizer that CUSTOM policies mean by a name.
func (c Configuration) Authorizer(name string) (Authorizer, bool) {
	for _, provider := range c.ExtensionProviders {
		for _, kind := range authorizerKinds {
			if settings, is := provider[kind].(map[string]any); is && provider["name"] == name {
				var authorizer Authorizer
				authorizer.Service, _ = settings["service"].(string)
				authorizer.FailOpen, _ = settings["failOpen"].(bool)
				return authorizer, true
			}
		}
	}
	return Authorizer{}, false
}

// asking keeps of an external authorizer's settings what Authorizer reads.
func asking(value any) any {
	settings, _ := value.(map[string]any)
	kept := map[string]any{}
	if service, is := settings["service"].(string); is {
		kept["service"] = service
	}
	if open, is := settings["failOpen"].(bool); is {
		kept["failOpen"] = open
	}
	return kept
}
