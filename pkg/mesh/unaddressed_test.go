package mesh_test

import (
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
)

func TestUnaddressed(t *testing.T) {
	installation := fixture.Without("ConfigMap", fixture.Installation()...)
	for name, test := range map[string]struct {
		labels, spec string
		// capture is AMBIENT_DNS_CAPTURE, own the annotation of a workload.
		capture, own string
		// want is the field, and what is said of it.
		want, says string
	}{
		"a host of the DNS":                     {spec: "hosts: [a.example.com], resolution: DNS"},
		"with DNS capture":                      {spec: "hosts: [a.example.com], resolution: DNS", capture: "true"},
		"without DNS capture":                   {spec: "hosts: [a.example.com], resolution: DNS", capture: "false", want: "spec.addresses", says: "AMBIENT_DNS_CAPTURE is off"},
		"without DNS capture, but for a pod":    {spec: "hosts: [a.example.com], resolution: DNS", capture: "false", own: "true"},
		"without DNS capture, and for a pod":    {spec: "hosts: [a.example.com], resolution: DNS", capture: "false", own: "false", want: "spec.addresses", says: "AMBIENT_DNS_CAPTURE is off"},
		"an address without DNS capture":        {spec: "hosts: [a.example.com], addresses: [192.0.2.1], resolution: DNS", capture: "false"},
		"no resolution":                         {spec: "hosts: [a.example.com], resolution: NONE", want: "spec.resolution", says: "istiod allocates none"},
		"no resolution by default":              {spec: "hosts: [a.example.com]", want: "spec.resolution", says: "istiod allocates none"},
		"no resolution, and an address":         {spec: "hosts: [a.example.com], addresses: [192.0.2.0/24], resolution: NONE"},
		"a wildcard":                            {spec: "hosts: ['*.example.com'], resolution: STATIC", want: "spec.hosts", says: "with resolution STATIC"},
		"a wildcard beside a host":              {spec: "hosts: ['*.example.com', a.example.com], resolution: STATIC"},
		"a wildcard that is resolved each time": {spec: "hosts: ['*.example.com'], resolution: DYNAMIC_DNS"},
		"no address wanted":                     {labels: `networking.istio.io/enable-autoallocate-ip: "False"`, spec: "hosts: [a.example.com], resolution: DNS", want: "metadata.labels[networking.istio.io/enable-autoallocate-ip]", says: "may not allocate one"},
		"an address wanted":                     {labels: `networking.istio.io/enable-autoallocate-ip: "true"`, spec: "hosts: [a.example.com], resolution: DNS"},
	} {
		t.Run(name, func(t *testing.T) {
			data := map[string]string{"AMBIENT_ENABLED": "true"}
			if test.capture != "" {
				data["AMBIENT_DNS_CAPTURE"] = test.capture
			}
			snapshot := fixture.Snapshot(installation, fixture.CNIConfig(fixture.System, data), fixture.Namespace("shop", nil),
				fixture.Deployment("shop", "web", fixture.TemplateAnnotation("ambient.istio.io/dns-capture", test.own)),
				"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: shop, labels: {"+test.labels+"}}\nspec: {"+test.spec+"}")
			field, why := snapshot.Unaddressed(snapshot.ServiceEntries()[0])
			if field != test.want || !strings.Contains(why, test.says) || (why == "") != (field == "") {
				t.Errorf("got %q, %q", field, why)
			}
		})
	}
}
