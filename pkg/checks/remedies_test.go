package checks_test

import (
	"regexp"
	"testing"
)

// commandAboutIt is a command that nobody can run as it is written.
var commandAboutIt = regexp.MustCompile(`\bkubectl [a-z -]*(describe|label|annotate|delete|patch|resume|restart) it\b`)

func TestNoRemedyIsACommandAboutIt(t *testing.T) {
	for _, test := range allCases() {
		for _, result := range test.run(t, test.content()) {
			if commandAboutIt.MatchString(result.Remedy) {
				t.Errorf("%s/%s: %s", test.check, test.name, result.Remedy)
			}
		}
	}
}

func TestRemediesAreCommands(t *testing.T) {
	want := map[string]string{
		"a paused Deployment":       `^pass --resume-paused to have it resumed for the restart and paused again, or kubectl -n shop rollout resume deployment/\w+$`,
		"a partitioned StatefulSet": `^kubectl -n shop patch statefulset/db --type=merge -p '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}'$`,
	}
	for _, test := range allCases() {
		if expected, found := want[test.name]; found && test.check == "restartable" {
			delete(want, test.name)
			if remedy := test.run(t, test.content())[0].Remedy; !regexp.MustCompile(expected).MatchString(remedy) {
				t.Errorf("%s: %s", test.name, remedy)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("there are no cases %v", want)
	}
}
