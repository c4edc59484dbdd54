package checks

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
)

// OldestIstio is the oldest version of Istio that a namespace is moved on.
// Before it, sidecars and ztunnel disagree in ways that were never mended.
const OldestIstio = "1.25.0"

// NewestIstioMinor is the newest minor version of Istio 1 that this tool knows.
const NewestIstioMinor = 31

// release is a version of Istio and what was built from it.
type release struct {
	// Version is that of Istio's own release.
	*semver.Version
	// suffix is what the builder added, without the variant of the image.
	suffix string
}

// variants are the ways in which Istio itself builds its images.
var variants = regexp.MustCompile(`(^|-)(distroless|debug)$`)

// preReleases are the suffixes of Istio's own builds before a release.
var preReleases = regexp.MustCompile(`^(alpha|beta|rc|dev)([.-]|$)`)

// parseRelease reads a version with whatever was added to it. The suffix is kept
// apart: as a pre-release a vendor's (1.27.1-solo) would sort before the version
// that it is built from.
func parseRelease(text string) (release, error) {
	version, err := semver.NewVersion(text)
	if err != nil {
		return release{}, fmt.Errorf("%q is not a version", text)
	}
	suffix := version.Prerelease()
	if metadata := version.Metadata(); metadata != "" {
		suffix = strings.TrimPrefix(suffix+"+"+metadata, "+")
	}
	return release{
		Version: semver.New(version.Major(), version.Minor(), version.Patch(), "", ""),
		suffix:  variants.ReplaceAllString(suffix, ""),
	}, nil
}

// String is the version with its suffix.
func (r release) String() string {
	if r.suffix == "" {
		return r.Version.String()
	}
	return r.Version.String() + "-" + r.suffix
}

func (r release) preRelease() bool { return preReleases.MatchString(r.suffix) }

// vendors says whether somebody else than the Istio project built it.
func (r release) vendors() bool { return r.suffix != "" && !r.preRelease() }

// skew is how far a proxy's version is from its control plane's.
type skew int

const (
	// skewSupported: as old as the control plane, or one minor version older.
	skewSupported skew = iota
	skewBehind
	skewAhead
)

// skewTo judges by Istio's rule for the data plane, by minor versions.
func (r release) skewTo(istiod release) skew {
	switch {
	case r.Major() > istiod.Major() || r.Major() == istiod.Major() && r.Minor() > istiod.Minor():
		return skewAhead
	case r.Major() < istiod.Major() || r.Minor()+1 < istiod.Minor():
		return skewBehind
	default:
		return skewSupported
	}
}

// newerThanTested says whether this tool knows nothing of the release.
func (r release) newerThanTested() bool {
	return r.Major() > 1 || r.Minor() > NewestIstioMinor
}

// at says whether the release is the version or newer.
func (r release) at(version string) bool { return !r.LessThan(semver.MustParse(version)) }

// imageRelease reads the version from an image's tag.
func imageRelease(image string) (release, error) {
	if image == "" {
		return release{}, errors.New("no image is known")
	}
	_, tag, tagged := strings.Cut(lastSegment(image), ":")
	if !tagged {
		return release{}, fmt.Errorf("image %s has no tag", image)
	}
	return parseRelease(tag)
}

// versionLabels hold the version of an installation: the first is istioctl's own
// (istio operator/pkg/manifest/name.go), the second is written by Istio's charts,
// whose version need not be istiod's.
var versionLabels = []string{"operator.istio.io/version", "app.kubernetes.io/version"}

// releaseOf reads the version from the tag of istiod's image, or from the labels
// of its Deployment.
func releaseOf(istiod appsv1.Deployment) (release, error) {
	var texts []string
	for _, container := range istiod.Spec.Template.Spec.Containers {
		if _, tag, tagged := strings.Cut(lastSegment(container.Image), ":"); tagged {
			texts = append(texts, tag)
		}
	}
	for _, key := range versionLabels {
		// The charts that istioctl holds say nothing but this.
		if value := istiod.Labels[key]; value != "" && value != mesh.UnreleasedChart {
			texts = append(texts, value)
		}
	}
	failure := error(nil)
	if len(texts) == 0 {
		failure = errors.New("its image has no tag, and no label of the Deployment says it")
	}
	for _, text := range texts {
		version, err := parseRelease(text)
		if err == nil {
			return version, nil
		}
		failure = cmp.Or(failure, err)
	}
	return release{}, failure
}

// versionOf is the version of Istio that an istiod is built from.
func versionOf(istiod appsv1.Deployment) (*semver.Version, error) {
	version, err := releaseOf(istiod)
	return version.Version, err
}

func lastSegment(image string) string {
	image, _, _ = strings.Cut(image, "@")
	return image[strings.LastIndex(image, "/")+1:]
}

// kubernetesMinors are the minor versions of Kubernetes 1 that a minor version
// of Istio 1 is supported on.
type kubernetesMinors struct{ oldest, newest int }

// supportedKubernetes is by minor version of Istio 1 (istio.io, "Supported
// Releases", and the announcements of the releases).
var supportedKubernetes = map[uint64]kubernetesMinors{
	25: {29, 32}, 26: {29, 33}, 27: {29, 33}, 28: {30, 34}, 29: {31, 35}, 30: {32, 36}, 31: {32, 36},
}

// kubernetesVersion is what vendors write in many ways: v1.33.4-gke.100,
// v1.32.1+k3s1, v1.31.0-eks-7f9249a.
var kubernetesVersion = regexp.MustCompile(`^v?1\.(\d+)(?:\D|$)`)

// kubernetesMinor reads the minor version of Kubernetes 1.
func kubernetesMinor(version string) (int, bool) {
	match := kubernetesVersion.FindStringSubmatch(version)
	if match == nil {
		return 0, false
	}
	minor, err := strconv.Atoi(match[1])
	return minor, err == nil
}
