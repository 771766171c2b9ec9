package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/registry"
)

// artifactPath is where an artifact of a repository is.
const artifactPath = repositoryPath + "/artifacts/{reference}"

func (a *API) artifactRoutes() []Route {
	return []Route{
		define(Route{
			ID: "listArtifactsOfProject", Tag: "project", Method: http.MethodGet, Path: "/projects/{project_name_or_id}/artifacts",
			Summary:    "Lists the artifacts of a project",
			Permission: inProject("artifact", policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listArtifactsOfProject),
		define(Route{
			ID: "listArtifacts", Tag: "artifact", Method: http.MethodGet, Path: repositoryPath + "/artifacts",
			Summary:    "Lists the artifacts of a repository, without accessories and what only an index lists",
			Permission: inProject("artifact", policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listArtifacts),
		define(Route{
			ID: "getArtifact", Tag: "artifact", Method: http.MethodGet, Path: artifactPath, Summary: "Returns an artifact by digest or tag",
			Permission: inProject("artifact", policy.Read), Statuses: []int{400, 401, 403, 404, 500},
		}, a.getArtifact),
		define(Route{
			ID: "deleteArtifact", Tag: "artifact", Method: http.MethodDelete, Path: artifactPath,
			Summary:    "Deletes an artifact with its tags and accessories",
			Permission: inProject("artifact", policy.Delete), Statuses: []int{401, 403, 404, 412, 500},
		}, a.deleteArtifact),
		define(Route{
			ID: "listAccessories", Tag: "artifact", Method: http.MethodGet, Path: artifactPath + "/accessories",
			Summary:    "Lists the signatures, SBOMs and attachments of an artifact",
			Permission: inProject("accessory", policy.List), Statuses: []int{400, 401, 403, 404, 500},
		}, a.listAccessories),
		define(Route{
			ID: "CopyArtifact", Tag: "artifact", Method: http.MethodPost, Path: repositoryPath + "/artifacts",
			Summary:    "Copies an artifact of another repository to this one, with its accessories",
			Permission: inProject("artifact", policy.Create), Statuses: []int{400, 401, 403, 404, 405, 409, 412, 500},
		}, a.copyArtifact),
		define(Route{
			ID: "getAddition", Tag: "artifact", Method: http.MethodGet, Path: artifactPath + "/additions/{addition}",
			Summary:    "Returns what else an artifact has to show: its history, a chart's values, a model's files, …",
			Produces:   []string{contentJSON, "text/markdown", "text/plain"},
			Permission: inProject("artifact-addition", policy.Read), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.getAddition),
		define(Route{
			ID: "addLabel", Tag: "artifact", Method: http.MethodPost, Path: artifactPath + "/labels", Summary: "Attaches a label to an artifact",
			Permission: inProject("artifact-label", policy.Create), Statuses: []int{400, 401, 403, 404, 409, 500},
		}, a.addLabel),
		define(Route{
			ID: "removeLabel", Tag: "artifact", Method: http.MethodDelete, Path: artifactPath + "/labels/{label_id}",
			Summary:    "Takes a label from an artifact",
			Permission: inProject("artifact-label", policy.Delete), Statuses: []int{401, 403, 404, 409, 500},
		}, a.removeLabel),
		define(Route{
			ID: "getIcon", Tag: "icon", Method: http.MethodGet, Path: "/icons/{digest}", Summary: "Returns the picture that an artifact brings along",
			Permission: inSystem("icon", policy.Read), Statuses: []int{400, 404, 500},
		}, a.getIcon),
	}
}

// artifact is an artifact as clients read it.
type artifact struct {
	ID                int64                   `json:"id"`
	Type              string                  `json:"type"`
	MediaType         string                  `json:"media_type"`
	ManifestMediaType string                  `json:"manifest_media_type"`
	ArtifactType      string                  `json:"artifact_type"`
	ProjectID         int64                   `json:"project_id"`
	RepositoryID      int64                   `json:"repository_id"`
	RepositoryName    string                  `json:"repository_name"`
	Digest            string                  `json:"digest"`
	Size              int64                   `json:"size"`
	Icon              string                  `json:"icon"`
	PushedAt          Time                    `json:"push_time"`
	PulledAt          Time                    `json:"pull_time"`
	ExtraAttrs        json.RawMessage         `json:"extra_attrs"`
	Annotations       map[string]string       `json:"annotations" nullable:"true"`
	References        []reference             `json:"references"`
	Tags              []tag                   `json:"tags"`
	TagCount          int64                   `json:"tag_count" doc:"how many tags there are, of which at most 100 are given here"`
	AdditionLinks     map[string]additionLink `json:"addition_links"`
	Labels            []label                 `json:"labels"`
	Accessories       []accessory             `json:"accessories"`
}

// reference is an entry of an index.
type reference struct {
	ParentID    int64             `json:"parent_id"`
	ChildID     int64             `json:"child_id"`
	ChildDigest string            `json:"child_digest"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	URLs        []string          `json:"urls"`
}

// platform is what an entry of an index is for; clients expect the quotes in the names.
type platform struct {
	Architecture string   `json:"architecture,omitempty"`
	OS           string   `json:"os,omitempty"`
	OSVersion    string   `json:"'os.version',omitempty"`
	OSFeatures   []string `json:"'os.features',omitempty"`
	Variant      string   `json:"variant,omitempty"`
}

// accessory is an accessory as clients read it.
type accessory struct {
	ID            int64  `json:"id"`
	ArtifactID    int64  `json:"artifact_id"`
	SubjectID     int64  `json:"subject_artifact_id,omitempty"`
	SubjectDigest string `json:"subject_artifact_digest"`
	SubjectRepo   string `json:"subject_artifact_repo"`
	Type          string `json:"type"`
	Digest        string `json:"digest"`
	Size          int64  `json:"size"`
	Icon          string `json:"icon"`
	CreatedAt     Time   `json:"creation_time"`
}

// additionLink is where an addition of an artifact is.
type additionLink struct {
	Href     string `json:"href"`
	Absolute bool   `json:"absolute"`
}

// withParts says what of an artifact is wanted.
type withParts struct {
	WithTag             *bool `query:"with_tag" doc:"the tags; they are given unless this is false"`
	WithLabel           bool  `query:"with_label" doc:"the labels"`
	WithAccessory       bool  `query:"with_accessory" doc:"the accessories"`
	WithSignature       bool  `query:"with_signature" doc:"as with_accessory"`
	WithImmutableStatus bool  `query:"with_immutable_status" doc:"whether tags are immutable"`
	WithScanOverview    bool  `query:"with_scan_overview" doc:"the result of scanning"`
	WithSBOMOverview    bool  `query:"with_sbom_overview" doc:"the state of the SBOM"`
}

func (w withParts) with() registry.With {
	return registry.With{Tags: w.WithTag == nil || *w.WithTag, Accessories: w.WithAccessory || w.WithSignature, Labels: w.WithLabel}
}

func viewArtifact(row registry.Artifact, protected map[string]bool) artifact {
	v := artifact{
		ID: row.ID, Type: row.Facts.Kind, MediaType: row.Facts.ConfigMediaType, ManifestMediaType: row.MediaType, ArtifactType: row.ArtifactType,
		ProjectID: row.ProjectID, RepositoryID: row.RepositoryID, RepositoryName: row.Repository.String(), Digest: row.Digest.String(),
		Size: row.Facts.ContentSize, Icon: row.Facts.Icon.String(), PushedAt: Time(row.CreatedAt), PulledAt: Time(row.PulledAt),
		ExtraAttrs: row.Facts.Attributes, Annotations: row.Annotations, TagCount: row.TagCount, AdditionLinks: map[string]additionLink{},
	}
	if v.ExtraAttrs == nil {
		v.ExtraAttrs = json.RawMessage("{}")
	}
	for _, name := range row.Additions() {
		v.AdditionLinks[name] = additionLink{Href: artifactHref(row.Repository, row.Digest.String()) + "/additions/" + name}
	}
	for _, l := range row.Labels {
		v.Labels = append(v.Labels, viewLabel(l))
	}
	for _, entry := range row.References {
		v.References = append(v.References, viewReference(entry))
	}
	for _, t := range row.Tags {
		v.Tags = append(v.Tags, viewTag(t, protected[t.Name]))
	}
	for _, attached := range row.Accessories {
		v.Accessories = append(v.Accessories, viewAccessory(attached, row.ID))
	}
	return v
}

func viewReference(entry metadata.ListedManifest) reference {
	v := reference{
		ParentID: entry.IndexID, ChildID: entry.ManifestID, ChildDigest: entry.Digest.String(),
		Annotations: entry.Details.Annotations, URLs: entry.Details.URLs,
	}
	if p := entry.Details.Platform; p != nil {
		v.Platform = &platform{Architecture: p.Architecture, OS: p.OS, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures, Variant: p.Variant}
	}
	return v
}

func viewAccessory(row metadata.Artifact, subjectID int64) accessory {
	return accessory{
		ID: row.ID, ArtifactID: row.ID, SubjectID: subjectID, SubjectDigest: row.Facts.AccessoryOf.String(), SubjectRepo: row.Repository.String(),
		Type: row.Facts.Accessory, Digest: row.Digest.String(), Size: row.Facts.ContentSize, Icon: row.Facts.Icon.String(), CreatedAt: Time(row.CreatedAt),
	}
}

// artifactHref is the path of an artifact, with the slashes in the repository's name encoded twice.
func artifactHref(repository oci.Repository, reference string) string {
	project := repository.Project()
	name := repository.String()[len(project)+1:]
	return Prefix + "/projects/" + project + "/repositories/" + url.PathEscape(url.PathEscape(name)) + "/artifacts/" + reference
}

// listArtifactsOfProjectInput are the parameters of listArtifactsOfProject.
type listArtifactsOfProjectInput struct {
	Paging
	withParts
}

func (a *API) listArtifactsOfProject(c *Call, in listArtifactsOfProjectInput) (Page[artifact], error) {
	return a.pageOfArtifacts(c, in.Paging, in.withParts, metadata.Collection{ProjectID: c.Project.ID})
}

// listArtifactsInput are the parameters of listArtifacts.
type listArtifactsInput struct {
	inRepository
	Paging
	withParts
}

func (a *API) listArtifacts(c *Call, in listArtifactsInput) (Page[artifact], error) {
	name, err := in.repository(c)
	if err != nil {
		return Page[artifact]{}, err
	}
	owner, err := a.options.Registry.Repository(c.Context(), name)
	if err != nil {
		return Page[artifact]{}, err
	}
	return a.pageOfArtifacts(c, in.Paging, in.withParts, metadata.Collection{ProjectID: c.Project.ID, RepositoryID: owner.ID})
}

func (a *API) pageOfArtifacts(c *Call, paging Paging, parts withParts, collection metadata.Collection) (Page[artifact], error) {
	q, _, err := paging.Query()
	if err != nil {
		return Page[artifact]{}, err
	}
	rows, total, err := a.options.Registry.Artifacts(c.Context(), collection, q, parts.with())
	if err != nil {
		return Page[artifact]{}, err
	}
	protected, err := a.protectedTags(c, rows, parts)
	if err != nil {
		return Page[artifact]{}, err
	}
	return NewPage(paging, rows, total, func(row registry.Artifact) artifact { return viewArtifact(row, protected[row.RepositoryID]) }), nil
}

// protectedTags returns which of the tags of artifacts are immutable, by the id of their repository, where that is wanted.
func (a *API) protectedTags(c *Call, rows []registry.Artifact, parts withParts) (map[int64]map[string]bool, error) {
	if !parts.WithImmutableStatus {
		return nil, nil
	}
	owners, names := make(map[int64]metadata.Repository), make(map[int64][]string)
	for _, row := range rows {
		owners[row.RepositoryID] = metadata.Repository{ID: row.RepositoryID, ProjectID: row.ProjectID, Name: row.Repository}
		for _, t := range row.Tags {
			names[row.RepositoryID] = append(names[row.RepositoryID], t.Name)
		}
	}
	protected := make(map[int64]map[string]bool, len(owners))
	for id, owner := range owners {
		found, err := a.options.Registry.Protected(c.Context(), owner, names[id])
		if err != nil {
			return nil, err
		}
		protected[id] = found
	}
	return protected, nil
}

// inArtifact has the parameters of paths that name an artifact.
type inArtifact struct {
	inRepository
	Reference string `path:"reference" doc:"digest or tag"`
}

// artifact returns the repository and reference of the path. The error is a [*fault.Error].
func (in inArtifact) artifact(c *Call) (oci.Repository, oci.Reference, error) {
	name, err := in.repository(c)
	if err != nil {
		return "", oci.Reference{}, err
	}
	reference, err := oci.ParseReference(in.Reference)
	if err != nil {
		return "", oci.Reference{}, fault.New(fault.NotFound, "artifact %q of repository %s not found", in.Reference, name)
	}
	return name, reference, nil
}

// getArtifactInput are the parameters of getArtifact.
type getArtifactInput struct {
	inArtifact
	withParts
}

func (a *API) getArtifact(c *Call, in getArtifactInput) (artifact, error) {
	name, reference, err := in.artifact(c)
	if err != nil {
		return artifact{}, err
	}
	row, err := a.options.Registry.Artifact(c.Context(), name, reference, in.with())
	if err != nil {
		return artifact{}, err
	}
	protected, err := a.protectedTags(c, []registry.Artifact{row}, in.withParts)
	return viewArtifact(row, protected[row.RepositoryID]), err
}

func (a *API) deleteArtifact(c *Call, in inArtifact) (None, error) {
	name, reference, err := in.artifact(c)
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.Registry.DeleteArtifact(c.Context(), c.actor(), name, reference)
}

// listOfArtifactInput are the parameters of lists of what an artifact has.
type listOfArtifactInput struct {
	inArtifact
	Paging
}

func (a *API) listAccessories(c *Call, in listOfArtifactInput) (Page[accessory], error) {
	name, reference, err := in.artifact(c)
	if err != nil {
		return Page[accessory]{}, err
	}
	q, _, err := in.Query()
	if err != nil {
		return Page[accessory]{}, err
	}
	rows, total, err := a.options.Registry.Accessories(c.Context(), name, reference, q)
	if err != nil {
		return Page[accessory]{}, err
	}
	return NewPage(in.Paging, rows, total, func(row metadata.Artifact) accessory { return viewAccessory(row, 0) }), nil
}

// copyArtifactInput are the parameters of CopyArtifact.
type copyArtifactInput struct {
	inRepository
	From string `query:"from" doc:"what is copied: project/repository:tag or project/repository@digest"`
}

func (a *API) copyArtifact(c *Call, in copyArtifactInput) (Created, error) {
	target, err := in.repository(c)
	if err != nil {
		return Created{}, err
	}
	source, reference, err := parseNamed(in.From)
	if err != nil {
		return Created{}, err
	}
	if err := c.Authorize(policy.Pull, policy.Repository(source.Project())); err != nil {
		return Created{}, err
	}
	if _, err := a.options.Registry.Copy(c.Context(), c.actor(), source, reference, target); err != nil {
		return Created{}, err
	}
	return Created{Location: artifactHref(target, reference.String())}, nil
}

// parseNamed reads "project/repository:tag" or "project/repository@digest". The error is a [*fault.Error].
func parseNamed(text string) (oci.Repository, oci.Reference, error) {
	name, digest, found := strings.Cut(text, "@")
	var reference oci.Reference
	var err error
	if found {
		reference.Digest, err = oci.ParseDigest(digest)
	} else {
		name, reference.Tag, _ = strings.Cut(text, ":")
		_, err = oci.ParseTag(reference.Tag)
	}
	repository, nameErr := oci.ParseRepository(name)
	if err != nil || nameErr != nil || repository.Project() == "" {
		return "", reference, fault.New(fault.Invalid, "from=%s: it must be project/repository:tag or project/repository@digest", text)
	}
	return repository, reference, nil
}

// getAdditionInput are the parameters of getAddition.
type getAdditionInput struct {
	inArtifact
	Addition string `path:"addition"`
}

func (a *API) getAddition(c *Call, in getAdditionInput) (Raw, error) {
	name, reference, err := in.artifact(c)
	if err != nil {
		return Raw{}, err
	}
	if !slices.Contains(additions, in.Addition) {
		return Raw{}, unprocessable("addition must be one of %s", strings.Join(additions, ", "))
	}
	addition, err := a.options.Registry.Addition(c.Context(), name, reference, in.Addition)
	return Raw{ContentType: addition.ContentType, Body: addition.Content}, err
}

// additions are all that an artifact of any kind may have.
var additions = []string{
	registry.AdditionHistory, registry.AdditionReadme, registry.AdditionValues, registry.AdditionDependencies, registry.AdditionLicense,
	registry.AdditionFiles,
}

// addLabelInput are the parameters of addLabel; of the label, only its id counts.
type addLabelInput struct {
	inArtifact
	Body struct {
		ID int64 `json:"id"`
	} `body:""`
}

func (a *API) addLabel(c *Call, in addLabelInput) (None, error) {
	name, reference, err := in.artifact(c)
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.Registry.LabelArtifact(c.Context(), c.actor(), name, reference, in.Body.ID)
}

// removeLabelInput are the parameters of removeLabel.
type removeLabelInput struct {
	inArtifact
	LabelID int64 `path:"label_id"`
}

func (a *API) removeLabel(c *Call, in removeLabelInput) (None, error) {
	name, reference, err := in.artifact(c)
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.Registry.UnlabelArtifact(c.Context(), c.actor(), name, reference, in.LabelID)
}

// icon is a picture as clients read it.
type icon struct {
	ContentType string `json:"content-type"`
	Content     []byte `json:"content" doc:"in base64"`
}

func (a *API) getIcon(c *Call, in struct {
	Digest string `path:"digest"`
},
) (icon, error) {
	digest, err := oci.ParseDigest(in.Digest)
	if err != nil {
		return icon{}, err
	}
	view, err := c.view(policy.Read, "artifact")
	if err != nil {
		return icon{}, err
	}
	content, err := a.options.Registry.Icon(c.Context(), view, digest)
	if err != nil {
		return icon{}, err
	}
	contentType := http.DetectContentType(content)
	if !strings.HasPrefix(contentType, "image/") {
		return icon{}, fault.New(fault.NotFound, "%s is no picture", digest)
	}
	return icon{contentType, content}, nil
}
