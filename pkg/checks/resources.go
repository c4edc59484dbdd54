package checks

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func limitRanges() Check {
	return Check{
		ID: "limit-ranges", Category: CategoryWorkloads, Severity: v1alpha1.SeverityError,
		About: "LimitRanges of type Pod that pods would not meet without what their sidecar requests.",
		Why: "A minimum per pod counts what all of its containers request, and pods below it are refused; so are pods that name no limit where there is a maximum, and those " +
			"whose limits are too many times their requests (kubernetes plugin/pkg/admission/limitranger/admission.go). Where the sidecar made a pod meet them, " +
			"the restart ends with no pod at all. Limits per container are met by the same containers as before.",
		Needs:  moveNeeds(mesh.KindLimitRange),
		Passed: "every LimitRange admits pods without sidecars",
		Run: func(subject Subject) []Finding {
			ranges := subject.Snapshot.LimitRanges(subject.Namespace.Name)
			var findings []Finding
			for _, workload := range renewedWorkloads(subject) {
				resources := mesh.ResourcesOf(workload.Template, ranges)
				for _, limits := range ranges {
					for i, item := range limits.Spec.Limits {
						if item.Type == corev1.LimitTypePod {
							findings = append(findings, refusals(limits, i, workload, resources)...)
						}
					}
				}
			}
			return findings
		},
	}
}

// refusals are the reasons for which an item of a LimitRange would refuse the
// pods of a workload.
func refusals(limits corev1.LimitRange, index int, workload mesh.Workload, resources mesh.PodResources) []Finding {
	item := limits.Spec.Limits[index]
	var findings []Finding
	refuse := func(bound string, name corev1.ResourceName, message string) {
		findings = append(findings, Finding{
			Status:  v1alpha1.StatusFail,
			Object:  &v1alpha1.ObjectReference{APIVersion: "v1", Kind: mesh.KindLimitRange, Namespace: limits.Namespace, Name: limits.Name},
			Field:   fmt.Sprintf("spec.limits[%d].%s[%s]", index, bound, name),
			Message: fmt.Sprintf("it refuses the pods of %s once they have no sidecar: %s", workload.Reference, message),
			Remedy:  "change the resources of its containers, or the LimitRange, before the migration",
		})
	}
	for _, name := range slices.Sorted(maps.Keys(item.Min)) {
		least := item.Min[name]
		request, set := resources.Requests[name]
		limit, limited := resources.Limits[name]
		switch {
		case !set:
			refuse("min", name, "they request nothing")
		case request.Cmp(least) < 0:
			refuse("min", name, fmt.Sprintf("they request %s, less than %s", request.String(), least.String()))
		case limited && limit.Cmp(least) < 0:
			refuse("min", name, fmt.Sprintf("their limit is %s, less than %s", limit.String(), least.String()))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(item.Max)) {
		// A pod without the sidecar cannot exceed what one with it did not.
		if _, limited := resources.Limits[name]; !limited {
			refuse("max", name, "they have no limit")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(item.MaxLimitRequestRatio)) {
		most := item.MaxLimitRequestRatio[name]
		request, limit := resources.Requests[name], resources.Limits[name]
		if request.IsZero() || limit.IsZero() || limit.AsApproximateFloat64()/request.AsApproximateFloat64() > most.AsApproximateFloat64() {
			refuse("maxLimitRequestRatio", name, fmt.Sprintf("their limit is %s and they request %s", limit.String(), request.String()))
		}
	}
	return findings
}

func resourceQuota() Check {
	return Check{
		ID: "resource-quota", Category: CategoryNetwork, Severity: v1alpha1.SeverityError,
		About: "ResourceQuotas of the namespace that leave no room for the extra pod of a rolling restart, or for a waypoint.",
		Why: "A Deployment that may miss no pod has to start a new one first. Where a quota refuses that one, the rollout stands still, and the migration with it " +
			"(kubernetes documentation, Resource Quotas and Deployments). Where a pod may be missing the restart goes on at reduced capacity. " +
			"Workloads that are restarted at the same time need an extra pod each. Afterwards the quota is used less: what sidecars requested is free.",
		Needs:  append(moveNeeds(mesh.KindResourceQuota, mesh.KindLimitRange, mesh.WaypointEndpoints), needsOfWaypoints()...),
		Passed: "every ResourceQuota has room for the restarts",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, quota := range subject.Snapshot.Quotas(subject.Namespace.Name) {
				findings = append(findings, quotaFindings(subject, quota)...)
			}
			return findings
		},
	}
}

func quotaFindings(subject Subject, quota corev1.ResourceQuota) []Finding {
	object := &v1alpha1.ObjectReference{APIVersion: "v1", Kind: mesh.KindResourceQuota, Namespace: quota.Namespace, Name: quota.Name}
	ranges := subject.Snapshot.LimitRanges(subject.Namespace.Name)
	// Whether a pod counts towards a quota with scopes depends on the pod.
	scoped := len(quota.Spec.Scopes) > 0 || quota.Spec.ScopeSelector != nil
	var hang, slow []string
	var short corev1.ResourceName
	for _, workload := range movedWorkloads(subject) {
		restart := workload.Restart()
		if !workload.Rolls() || workload.Replicas == 0 || restart.Surge == 0 || subject.byNamespace() {
			continue
		}
		lacking := lacks(quota, mesh.ResourcesOf(workload.Template, ranges))
		if lacking == "" {
			continue
		}
		short = lacking
		if restart.Unavailable == 0 && !scoped {
			hang = append(hang, workload.Reference.Kind+" "+workload.Reference.Name)
		} else {
			slow = append(slow, workload.Reference.Kind+" "+workload.Reference.Name)
		}
	}
	var findings []Finding
	if len(hang) > 0 {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusFail, Object: object, Field: "spec.hard[" + string(short) + "]",
			Message: fmt.Sprintf("it has no room for one more pod (%s), without which the restart stands still: %s", room(quota, short), some(hang)),
			Remedy:  "raise the quota for the migration, or set maxUnavailable: 1",
		})
	}
	if len(slow) > 0 {
		message := "it has no room for one more pod (%s), so the restart goes on with one pod less: %s"
		if scoped {
			message = "it has no room for one more pod (%s); where it counts those of the restart, that stands still or goes on with one pod less: %s"
		}
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Object: object, Field: "spec.hard[" + string(short) + "]", Message: fmt.Sprintf(message, room(quota, short), some(slow)),
			Remedy: "raise the quota for the migration",
		})
	}
	if crowded := crowdedWave(subject, quota, ranges); crowded != nil && len(hang)+len(slow) == 0 {
		crowded.Object = object
		findings = append(findings, *crowded)
	}
	if why := wantsWaypoint(subject); why != "" {
		if lacking := lacks(quota, subject.Snapshot.WaypointPods().Resources); lacking != "" {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusWarn, Object: object, Field: "spec.hard[" + string(lacking) + "]",
				Message: fmt.Sprintf("it has no room for the waypoint's pod (%s): %s", room(quota, lacking), why),
				Remedy:  "raise the quota",
			})
		}
	}
	return findings
}

// crowdedWave says which workloads that are restarted at the same time have no room
// under a quota for an extra pod each, although each by itself has. Those that find
// none wait until another is through.
func crowdedWave(subject Subject, quota corev1.ResourceQuota, ranges []corev1.LimitRange) *Finding {
	if subject.Migration == nil || subject.byNamespace() {
		return nil
	}
	for _, wave := range subject.Migration.Parallel {
		left := quota
		var names []string
		for _, member := range wave {
			workload, found := subject.Snapshot.Workload(member)
			if !found || !workload.Rolls() || workload.Replicas == 0 || workload.Restart().Surge == 0 {
				continue
			}
			pod := mesh.ResourcesOf(workload.Template, ranges)
			names = append(names, member.Kind+" "+member.Name)
			if short := lacks(left, pod); short != "" {
				return &Finding{
					Status: v1alpha1.StatusWarn, Field: "spec.hard[" + string(short) + "]",
					Message: fmt.Sprintf("it has no room for one more pod of each of %s, which are restarted at the same time (%s): the last waits for the others",
						some(names), room(quota, short)),
					Remedy: "raise the quota for the migration, or lower --max-parallel-restarts",
				}
			}
			take(&left, pod)
		}
	}
	return nil
}

// take counts one more pod as used.
func take(quota *corev1.ResourceQuota, pod mesh.PodResources) {
	used := corev1.ResourceList{}
	maps.Copy(used, quota.Status.Used)
	for name := range bounds(*quota) {
		if needed, counted := needs(name, pod); counted {
			sum := used[name]
			sum.Add(needed)
			used[name] = sum
		}
	}
	quota.Status.Used = used
}

// bounds are what a quota enforces.
func bounds(quota corev1.ResourceQuota) corev1.ResourceList {
	if len(quota.Status.Hard) == 0 {
		return quota.Spec.Hard
	}
	return quota.Status.Hard
}

// lacks names the resource of which a quota has too little left for one more pod;
// nothing where there is enough of each.
func lacks(quota corev1.ResourceQuota, pod mesh.PodResources) corev1.ResourceName {
	hard := bounds(quota)
	for _, name := range slices.Sorted(maps.Keys(hard)) {
		needed, counted := needs(name, pod)
		if !counted {
			continue
		}
		used := quota.Status.Used[name]
		used.Add(needed)
		if limit := hard[name]; !needed.IsZero() && used.Cmp(limit) > 0 {
			return name
		}
	}
	return ""
}

// needs is how much of a quota's resource one more pod takes.
func needs(name corev1.ResourceName, pod mesh.PodResources) (resource.Quantity, bool) {
	switch name {
	case corev1.ResourcePods, "count/pods":
		return resource.MustParse("1"), true
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return pod.Requests[name], true
	default:
		if of, found := strings.CutPrefix(string(name), "requests."); found {
			return pod.Requests[corev1.ResourceName(of)], true
		}
		if of, found := strings.CutPrefix(string(name), "limits."); found {
			return pod.Limits[corev1.ResourceName(of)], true
		}
		return resource.Quantity{}, false
	}
}

func room(quota corev1.ResourceQuota, name corev1.ResourceName) string {
	hard, set := quota.Status.Hard[name]
	if !set {
		hard = quota.Spec.Hard[name]
	}
	used := quota.Status.Used[name]
	return fmt.Sprintf("%s: %s of %s used", name, used.String(), hard.String())
}
