package command

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The signs of alterations: what is made, what changes, and what is taken away.
const (
	signMade    = "+"
	signChanged = "~"
	signRemoved = "-"
)

// alteration is one change that makes the registry what a document says.
type alteration struct {
	// sign is one of the signs, what the thing.
	sign, what string
	// do makes the change and returns what takes it back, also where it made half of it; nil where nothing does.
	do func(c *call) (undo, error)
}

// undo takes a change back.
type undo func(c *call) error

// made is an alteration by a POST, which tells where the new thing is.
func made(what, path string, body any) alteration {
	return alteration{signMade, what, func(c *call) (undo, error) { return post(c, path, body) }}
}

// post makes a thing; taking it back deletes it.
func post(c *call, path string, body any) (undo, error) {
	location, err := c.change(c.Context(), http.MethodPost, path, body)
	if err != nil {
		return nil, err
	}
	return deleting(strings.TrimPrefix(location, prefix)), nil
}

func deleting(path string) undo {
	return func(c *call) error {
		_, err := c.change(c.Context(), http.MethodDelete, path, nil)
		return err
	}
}

// changed is an alteration by a PUT, which is taken back by the PUT of what was before.
func changed(what, path string, body, before any) alteration {
	return alteration{signChanged, what, func(c *call) (undo, error) {
		if _, err := c.change(c.Context(), http.MethodPut, path, body); err != nil {
			return nil, err
		}
		return func(c *call) error {
			_, err := c.change(c.Context(), http.MethodPut, path, before)
			return err
		}, nil
	}}
}

// removed is an alteration by a DELETE. It is not taken back: what hung on the thing would not come back with it.
func removed(what, path string) alteration {
	return alteration{signRemoved, what, func(c *call) (undo, error) {
		_, err := c.change(c.Context(), http.MethodDelete, path, nil)
		return nil, err
	}}
}

// apply makes all alterations, or none where the registry refuses one: what was made before is taken back. What is to be removed
// comes last, when nothing else can be refused any more.
func apply(c *call, alterations []alteration) error {
	last := func(a alteration) int { return strings.Count(a.sign, signRemoved) }
	slices.SortStableFunc(alterations, func(a, b alteration) int { return cmp.Compare(last(a), last(b)) })
	var undos []undo
	for i, a := range alterations {
		back, err := a.do(c)
		if back != nil {
			undos = append(undos, back)
		}
		if err == nil {
			continue
		}
		if err = fmt.Errorf("%s: %w", a.what, err); a.sign == signRemoved {
			return fmt.Errorf("%w (%d of %d changes are made)", err, i, len(alterations))
		}
		for _, back := range slices.Backward(undos) {
			if failed := back(c); failed != nil {
				return errors.Join(err, fmt.Errorf("not all of the changes before it could be taken back: %w", failed))
			}
		}
		return fmt.Errorf("%w (nothing is changed)", err)
	}
	return nil
}

// setMetadata changes metadata of a project; keys that it does not have yet are deleted to take that back.
func setMetadata(what, name string, values, now map[string]string) alteration {
	path := at("projects", name)
	a := changed(what, path, map[string]any{"metadata": values}, nil)
	set := a.do
	a.do = func(c *call) (undo, error) {
		if _, err := set(c); err != nil {
			return nil, err
		}
		return func(c *call) error {
			before := map[string]string{}
			for _, key := range slices.Sorted(maps.Keys(values)) {
				value, had := now[key]
				if had {
					before[key] = value
					continue
				}
				if _, err := c.change(c.Context(), http.MethodDelete, path+at("metadatas", key), nil); err != nil {
					return err
				}
			}
			_, err := c.change(c.Context(), http.MethodPut, path, map[string]any{"metadata": before})
			return err
		}, nil
	}
	return a
}

// setQuota finds the quota when it is to be set, because the project may be one that was just made.
func setQuota(what, name string, limit int64) alteration {
	return alteration{signChanged, what, func(c *call) (undo, error) {
		found, err := findQuota(c, name)
		if err != nil {
			return nil, err
		}
		body := func(limit int64) any { return map[string]any{"hard": map[string]int64{"storage": limit}} }
		return changed(what, at("quotas", strconv.FormatInt(found.ID, 10)), body(limit), body(found.Hard.Storage)).do(c)
	}}
}
