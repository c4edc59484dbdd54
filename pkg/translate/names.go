package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// hashLength is how much of a hash ends a name: enough that no two of the handful
// of objects in a namespace share it.
const hashLength = 8

// generatedName is the name of an object that is made from others: its first two
// parts, and a hash of all of them that keeps apart what they alone would name
// alike. Parts that are too long are cut.
func generatedName(parts ...string) string {
	return boundedName(validation.DNS1123SubdomainMaxLength, parts...)
}

// boundedName is such a name of so many characters at most.
func boundedName(most int, parts ...string) string {
	name := strings.Join(parts[:2], "-")
	if most -= hashLength + 1; len(name) > most {
		name = strings.TrimRight(name[:most], "-.")
	}
	return name + "-" + hash(strings.Join(parts, "\x00"))
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:hashLength]
}

// originLabel is an object's name as the value of a label: what is too long for one
// is cut. The annotation of the same key has it whole.
func originLabel(origin v1alpha1.ObjectReference) string {
	name := origin.Name
	if len(name) > validation.LabelValueMaxLength {
		name = strings.TrimRight(name[:validation.LabelValueMaxLength], "-._")
	}
	return name
}
