package plan

import (
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

// judge gathers what gates need to know of the plan.
func (e enrolment) judge(planned *v1alpha1.MigrationPlan) (*checks.Migration, error) {
	migration := &checks.Migration{}
	for object := range e.translation.Carried {
		migration.Carried = append(migration.Carried, object)
	}
	for _, service := range e.translation.Services {
		if service.WaypointName != "" {
			migration.Fronted = append(migration.Fronted, service.Need.Service)
		}
	}
	for _, loss := range e.translation.Losses {
		migration.Lost = append(migration.Lost, checks.Lost{Object: loss.Object, Field: loss.Field, Message: loss.Message, Security: loss.Security})
	}
	for _, problem := range e.translation.Problems {
		migration.Unsolved = append(migration.Unsolved, checks.Unsolved{
			Object: problem.Object, Field: problem.Field, Message: problem.Message, Remedy: problem.Remedy,
		})
	}
	return migration, nil
}
