// Package v1alpha1 holds the documents that kubectl ambient prints, keeps in
// the cluster and reads back: MeshStatus, MeshSnapshot, MigrationPlan,
// MigrationRecord and VerifyReport.
//
// They are plain data. Scripts read them with -o json|yaml, so a field that
// was published keeps its name and meaning within a version.
package v1alpha1

// Group is the API group of the documents, and the prefix of annotations.
const Group = "ambient.kubectl-ambient.dev"

// OriginLabel marks the objects that an enrolment created. Nothing that lacks it
// is ever taken for one of them.
const OriginLabel = Group + "/origin"

// SimplifiedAnnotation marks the objects of a run that go on to hold although what
// they were made from is gone, because a run has deleted it: they are all there is now.
const SimplifiedAnnotation = Group + "/simplified"

// RunAnnotation is the run that has created an object, or that an Event is about.
const RunAnnotation = Group + "/run"

// CordonedAnnotation marks a node that a run has cordoned, with the namespace that
// the run is about.
const CordonedAnnotation = Group + "/cordoned"

// ResumedAnnotation marks a Deployment that was paused and that a run has resumed to
// restart it.
const ResumedAnnotation = Group + "/resumed"

// GroupVersion is the apiVersion of every document in this package.
const GroupVersion = Group + "/v1alpha1"

// The kinds of the documents.
const (
	KindMeshStatus       = "MeshStatus"
	KindMigrationPlan    = "MigrationPlan"
	KindMigrationRecord  = "MigrationRecord"
	KindMigrationHistory = "MigrationHistory"
	KindVerifyReport     = "VerifyReport"
	KindVerifyReportList = "VerifyReportList"
	KindMeshSnapshot     = "MeshSnapshot"
)

// TypeMeta says which document this is and in which version.
type TypeMeta struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// Document returns the TypeMeta of a document of the given kind.
func Document(kind string) TypeMeta {
	return TypeMeta{APIVersion: GroupVersion, Kind: kind}
}

// ObjectReference names one object of the cluster.
type ObjectReference struct {
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind"`
	// Namespace is empty for objects that are not in a namespace.
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Unversioned names the object whichever version of its kind it is read in.
func (r ObjectReference) Unversioned() ObjectReference {
	r.APIVersion = ""
	return r
}

// String is the object as messages name it: "Deployment shop/cart", or
// "Namespace shop" for what is not in a namespace.
func (r ObjectReference) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}
