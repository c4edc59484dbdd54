package plan

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"sigs.k8s.io/yaml"
)

// yamlOf is a value as JSON has it.
func yamlOf(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestTakeBack(t *testing.T) {
	t.Parallel()
	const (
		bare       = `{action: DENY, rules: [{to: [{operation: {ports: ["80"]}}]}]}`
		bareWith   = `{action: DENY, rules: [{from: [{source: {notPrincipals: [wp]}}], to: [{operation: {ports: ["80"]}}]}]}`
		source     = `{action: DENY, rules: [{from: [{source: {namespaces: [a], notPrincipals: [b]}}]}, {to: [{operation: {ports: ["9"]}}]}]}`
		sourceWith = `{action: DENY, rules: [{from: [{source: {namespaces: [a], notPrincipals: [b, wp]}}]}, {to: [{operation: {ports: ["9"]}}]}]}`
		wide       = `{action: DENY, selector: {matchLabels: {app: cart}}, rules: [{}]}`
		narrow     = `{action: DENY, selector: {matchLabels: {app: cart, inject: "false"}}, rules: [{}]}`
	)
	for _, test := range []struct {
		name, before, after, found string
		// want is empty where it cannot be taken back.
		want string
	}{
		{"nobody changed it", bare, bareWith, bareWith, bare},
		{"another field", bare, bareWith, `{action: AUDIT, rules: [{from: [{source: {notPrincipals: [wp]}}], to: [{operation: {ports: ["80"]}}]}]}`,
			`{action: AUDIT, rules: [{to: [{operation: {ports: ["80"]}}]}]}`},
		{"another field of the rule", bare, bareWith, `{action: DENY, rules: [{from: [{source: {notPrincipals: [wp]}}], to: [{operation: {ports: ["81"]}}]}]}`,
			`{action: DENY, rules: [{to: [{operation: {ports: ["81"]}}]}]}`},
		{"somebody else is exempted, too", bare, bareWith, `{action: DENY, rules: [{from: [{source: {notPrincipals: [them, wp]}}], to: [{operation: {ports: ["80"]}}]}]}`,
			`{action: DENY, rules: [{from: [{source: {notPrincipals: [them]}}], to: [{operation: {ports: ["80"]}}]}]}`},
		{"somebody is added to the source", source, sourceWith, `{action: DENY, rules: [{from: [{source: {namespaces: [a, c], notPrincipals: [b, wp]}}]}, {to: [{operation: {ports: ["9"]}}]}]}`,
			`{action: DENY, rules: [{from: [{source: {namespaces: [a, c], notPrincipals: [b]}}]}, {to: [{operation: {ports: ["9"]}}]}]}`},
		{"a rule before it", bare, bareWith, `{action: DENY, rules: [{to: [{operation: {ports: ["1"]}}]}, {from: [{source: {notPrincipals: [wp]}}], to: [{operation: {ports: ["80"]}}]}]}`,
			`{action: DENY, rules: [{to: [{operation: {ports: ["1"]}}]}, {to: [{operation: {ports: ["80"]}}]}]}`},
		{"another rule gone", source, sourceWith, `{action: DENY, rules: [{from: [{source: {namespaces: [a], notPrincipals: [b, wp]}}]}]}`,
			`{action: DENY, rules: [{from: [{source: {namespaces: [a], notPrincipals: [b]}}]}]}`},
		{"the exemption taken out already", bare, bareWith, `{action: DENY, rules: [{to: [{operation: {ports: ["81"]}}]}]}`,
			`{action: DENY, rules: [{to: [{operation: {ports: ["81"]}}]}]}`},
		{"a source beside ours, which alone would refuse less", bare, bareWith, `{action: DENY, rules: [{from: [{source: {notPrincipals: [wp]}}, {source: {namespaces: [a]}}]}]}`, ""},
		{"a rule before it, and the rule itself", bare, bareWith, `{action: DENY, rules: [{to: [{operation: {ports: ["1"]}}]}, {from: [{source: {notPrincipals: [wp]}}], to: [{operation: {ports: ["81"]}}]}]}`, ""},
		{"rules in another order", source, sourceWith, `{action: DENY, rules: [{to: [{operation: {ports: ["9"]}}]}, {from: [{source: {namespaces: [a], notPrincipals: [b, wp]}}]}]}`, ""},
		{"ours in other rules, too", bare, bareWith, `{action: DENY, rules: [{from: [{source: {notPrincipals: [wp]}}], to: [{operation: {ports: ["80"]}}]}, {from: [{source: {notPrincipals: [wp]}}]}]}`, ""},
		{"a settled guard with other rules", narrow, wide, `{action: DENY, selector: {matchLabels: {app: cart}}, rules: [{}, {}]}`,
			`{action: DENY, selector: {matchLabels: {app: cart, inject: "false"}}, rules: [{}, {}]}`},
		{"a field that both have changed", narrow, wide, `{action: DENY, rules: [{}]}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			back, possible := takeBack(yamlOf(t, test.before), yamlOf(t, test.after), yamlOf(t, test.found))
			if possible != (test.want != "") {
				t.Fatalf("possible is %t: %v", possible, back)
			}
			if diff := cmp.Diff(yamlOf(t, test.want), back); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRollbackOfAPolicyThatSomebodyHasEdited: the exemption goes, what is theirs
// stays; where they cannot be told apart, it is said what to take out.
func TestRollbackOfAPolicyThatSomebodyHasEdited(t *testing.T) {
	t.Parallel()
	objects, record := throughWaypoint(t)
	const waypoint = "cluster.local/ns/shop/sa/waypoint"
	edited := func(rules string) v1alpha1.MigrationPlan {
		after := slices.Clone(objects)
		for i := range after {
			if after[i].GetName() == "no-debug" {
				after[i] = *after[i].DeepCopy()
				with(yamlOf(t, rules), "spec", "rules")(after[i].Object)
			}
		}
		return undone(t, after, record)
	}
	const ours = `[{from: [{source: {namespaces: [shop], notPrincipals: [` + waypoint + `]}}]`
	planned := edited(ours + `, to: [{operation: {ports: ["9091"]}}]}]`)
	if len(planned.Kept) > 0 {
		t.Errorf("kept %v", planned.Kept)
	}
	var restored any
	var notes []string
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			if change.Object.Name == "no-debug" {
				restored, notes = change.Fields[0].After, step.Notes
			}
		}
	}
	want := yamlOf(t, `{action: DENY, selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {namespaces: [shop]}}], to: [{operation: {ports: ["9091"]}}]}]}`)
	if diff := cmp.Diff(want, restored); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	const said = "AuthorizationPolicy shop/no-debug has been changed since: what the run had made of it is taken back, the rest stays"
	if diff := cmp.Diff([]string{said}, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	planned = edited(`[{to: [{operation: {ports: ["1"]}}]}, ` + ours[1:] + `, to: [{operation: {ports: ["9091"]}}]}]`)
	kept := []v1alpha1.KeptField{{
		Object: inShop("AuthorizationPolicy", "no-debug"),
		Reason: "somebody has changed it since: take out of it by hand what the run had added, " + waypoint + ": kubectl edit -n shop authorizationpolicy/no-debug",
	}}
	if diff := cmp.Diff(kept, planned.Kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

// TestRollbackOfAPolicyEditedBetweenRuns: the first run fails at the policy that it
// amends, since somebody has edited it; the next one goes on from there.
func TestRollbackOfAPolicyEditedBetweenRuns(t *testing.T) {
	t.Parallel()
	const (
		bare     = `{action: DENY, rules: [{to: [{operation: {ports: ["80"]}}]}]}`
		with1    = `{action: DENY, rules: [{from: [{source: {notPrincipals: [wp]}}], to: [{operation: {ports: ["80"]}}]}]}`
		edited   = `{action: DENY, rules: [{to: [{operation: {ports: ["80", "81"]}}]}]}`
		editedWp = `{action: DENY, rules: [{from: [{source: {notPrincipals: [wp]}}], to: [{operation: {ports: ["80", "81"]}}]}]}`
		both     = `{action: DENY, rules: [{from: [{source: {notPrincipals: [wp]}}], to: [{operation: {ports: ["81"]}}]}, {from: [{source: {notPrincipals: [wp]}}]}]}`
		bothTo   = `{action: DENY, rules: [{from: [{source: {notPrincipals: [wp]}}], to: [{operation: {ports: ["82"]}}]}]}`
	)
	for _, test := range []struct {
		name string
		// found is what the second run found, wrote what it made of it, live what is
		// there now, want what that becomes, empty where it is left alone.
		found, wrote, live, want string
		between                  bool
		remains                  []string
	}{
		{"nobody has", with1, with1, with1, bare, false, nil},
		{"put back by hand", bare, with1, with1, bare, false, nil},
		{"edited before the first run wrote it", edited, editedWp, editedWp, edited, true, nil},
		{"edited with what the first run had written in it", editedWp, editedWp, editedWp, edited, true, nil},
		{"both the same", both, bothTo, bothTo, both, true, []string{"wp"}},
		{"and put back to what the first run wrote", edited, editedWp, with1, bare, true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			object := inShop("AuthorizationPolicy", "no-debug")
			fields := note(nil, v1alpha1.PhaseMigratePolicies, object, v1alpha1.FieldChange{Path: "/spec", Before: yamlOf(t, bare), After: yamlOf(t, with1)})
			fields = note(fields, v1alpha1.PhaseMigratePolicies, object, v1alpha1.FieldChange{Path: "/spec", Before: yamlOf(t, test.found), After: yamlOf(t, test.wrote)})
			var planned v1alpha1.MigrationPlan
			r := rollback{written: fields, plan: &planned}
			live := map[string]any{"spec": yamlOf(t, test.live)}
			var got any
			for _, one := range r.edits(v1alpha1.PhaseMigratePolicies, object, live, true) {
				got = one.after
			}
			if diff := cmp.Diff(yamlOf(t, test.want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if fields[0].between != test.between {
				t.Errorf("between is %t", fields[0].between)
			}
			if diff := cmp.Diff(test.remains, fields[0].remains); diff != "" {
				t.Errorf("remains (-want +got):\n%s", diff)
			}
		})
	}
}
