package project

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
)

// The longest parts of a label, in bytes.
const (
	maxLabelName        = 128
	maxLabelDescription = 1024
	maxLabelColor       = 16
)

func checkLabel(l metadata.Label) error {
	if l.Name == "" || !printable(l.Name, maxLabelName) || !printable(l.Color, maxLabelColor) || len(l.Description) > maxLabelDescription || !printableLines(l.Description) {
		return fault.New(fault.Invalid, "a label has a name of 1 to %d bytes, a description of up to %d, and a color of up to %d",
			maxLabelName, maxLabelDescription, maxLabelColor)
	}
	return nil
}

// CreateLabel adds a label to a project, or to the registry when the project has no id, and returns it. The error is a
// [*fault.Error]: Invalid for the label, NotFound for the project, Conflict when the name is taken there.
func (p *Projects) CreateLabel(ctx context.Context, actor event.Actor, project metadata.Project, wanted metadata.Label) (metadata.Label, error) {
	if err := checkLabel(wanted); err != nil {
		return metadata.Label{}, err
	}
	wanted.ProjectID = project.ID
	err := p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) (err error) {
		if wanted, err = tx.CreateLabel(ctx, wanted); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.LabelCreated, project.Name, wanted.Name)
	})
	return wanted, labelError(wanted, err)
}

// UpdateLabel gives a label another name, description and color. The error is a [*fault.Error]: Invalid, NotFound, or Conflict when
// the name is taken.
func (p *Projects) UpdateLabel(ctx context.Context, actor event.Actor, project metadata.Project, label metadata.Label) error {
	if err := checkLabel(label); err != nil {
		return err
	}
	return labelError(label, p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if _, err := tx.UpdateLabel(ctx, label); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.LabelUpdated, project.Name, label.Name)
	}))
}

// DeleteLabel takes a label from all artifacts and removes it. The error is a [*fault.Error] of NotFound.
func (p *Projects) DeleteLabel(ctx context.Context, actor event.Actor, project metadata.Project, label metadata.Label) error {
	return labelError(label, p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.DeleteLabel(ctx, label.ID); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.LabelDeleted, project.Name, label.Name)
	}))
}

func labelError(label metadata.Label, err error) error {
	switch {
	case errors.Is(err, metadata.ErrExists):
		return fault.Because(err, fault.Conflict, "a label called %q already exists here", label.Name)
	case errors.Is(err, metadata.ErrNotFound):
		return fault.Because(err, fault.NotFound, "the label, or its project, does not exist any more")
	case err != nil:
		return fmt.Errorf("label %q: %w", label.Name, err)
	}
	return nil
}
