package api

import "github.com/berth-registry/berth/metadata"

// label is a label as clients read it.
type label struct {
	ID          int64  `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Color       string `json:"color"`
	// Scope is "g" for a label of the registry, "p" for one of a project.
	Scope     string `json:"scope"`
	ProjectID int64  `json:"project_id"`
	CreatedAt Time   `json:"creation_time"`
	UpdatedAt Time   `json:"update_time"`
}

func viewLabel(l metadata.Label) label {
	v := label{
		ID: l.ID, Name: l.Name, Description: l.Description, Color: l.Color, Scope: "g", ProjectID: l.ProjectID,
		CreatedAt: Time(l.CreatedAt), UpdatedAt: Time(l.UpdatedAt),
	}
	if l.ProjectID != 0 {
		v.Scope = "p"
	}
	return v
}
