package project

import (
	"context"
	"errors"
	"slices"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy/immutable"
)

// CreateRule adds a rule about tags that stay where they are, which holds at once, and returns its id. The error is a [*fault.Error]
// of Invalid for the rule, for one that the project has, and for more rules than [immutable.MaxRules].
func (p *Projects) CreateRule(ctx context.Context, actor event.Actor, project metadata.Project, rule metadata.ImmutableRule) (id int64, err error) {
	if err := immutable.Validate(rule); err != nil {
		return 0, err
	}
	rule.ProjectID, rule.Disabled = project.ID, false
	err = p.change(ctx, project, func(ctx context.Context, tx *metadata.Tx, row metadata.Project) error {
		rules, err := tx.ImmutableRules(ctx, row.ID)
		if err != nil {
			return err
		}
		if len(rules) >= immutable.MaxRules {
			return fault.New(fault.Invalid, "project %q has %d immutable tag rules, more are not allowed", row.Name, len(rules))
		}
		if err := unlike(rules, rule); err != nil {
			return err
		}
		created, err := tx.CreateImmutableRule(ctx, rule)
		if err != nil {
			return err
		}
		id = created.ID
		return appendEvent(ctx, tx, actor, event.ImmutableRuleCreated, row.Name, immutable.Describe(created))
	})
	return id, err
}

// unlike refuses a rule that selects the same as another.
func unlike(rules []metadata.ImmutableRule, rule metadata.ImmutableRule) error {
	for _, other := range rules {
		if other.ID != rule.ID && slices.Equal(other.Repositories, rule.Repositories) && slices.Equal(other.Tags, rule.Tags) {
			return fault.New(fault.Invalid, "%s selects the same already", immutable.Describe(other))
		}
	}
	return nil
}

// UpdateRule changes a rule; without selectors those that it has stay. The error is a [*fault.Error]: Invalid for the rule or one
// that the project has, NotFound.
func (p *Projects) UpdateRule(ctx context.Context, actor event.Actor, project metadata.Project, rule metadata.ImmutableRule) error {
	rule.ProjectID = project.ID
	return p.change(ctx, project, func(ctx context.Context, tx *metadata.Tx, row metadata.Project) error {
		rules, err := tx.ImmutableRules(ctx, row.ID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(rules, func(other metadata.ImmutableRule) bool { return other.ID == rule.ID })
		if i < 0 {
			return noRule(rule.ID)
		}
		if len(rule.Repositories) == 0 && len(rule.Tags) == 0 {
			rule.Repositories, rule.Tags, rule.Priority = rules[i].Repositories, rules[i].Tags, rules[i].Priority
		}
		if err := immutable.Validate(rule); err != nil {
			return err
		}
		if err := unlike(rules, rule); err != nil {
			return err
		}
		if err := tx.UpdateImmutableRule(ctx, rule); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.ImmutableRuleUpdated, row.Name, immutable.Describe(rule))
	})
}

// DeleteRule removes a rule. The error is a [*fault.Error] of NotFound.
func (p *Projects) DeleteRule(ctx context.Context, actor event.Actor, project metadata.Project, id int64) error {
	return p.change(ctx, project, func(ctx context.Context, tx *metadata.Tx, row metadata.Project) error {
		rules, err := tx.ImmutableRules(ctx, row.ID)
		if err != nil {
			return err
		}
		if err := tx.DeleteImmutableRule(ctx, row.ID, id); errors.Is(err, metadata.ErrNotFound) {
			return noRule(id)
		} else if err != nil {
			return err
		}
		i := slices.IndexFunc(rules, func(rule metadata.ImmutableRule) bool { return rule.ID == id })
		return appendEvent(ctx, tx, actor, event.ImmutableRuleDeleted, row.Name, immutable.Describe(rules[i]))
	})
}

func noRule(id int64) error { return fault.New(fault.NotFound, "immutable tag rule %d not found", id) }
