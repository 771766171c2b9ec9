package metadata

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/berth-registry/berth/oci"
)

const pulledElements = `(SELECT value->>'name' AS name, value->>'digest' AS digest, value->>'tag' AS tag,
	CAST(value->>'pulls' AS BIGINT) AS pulls, CAST(value->>'last' AS BIGINT) AS last_at FROM {elements}($1{json})) AS p`

var (
	addRepositoryPulls = define("add pulls", `
		UPDATE repositories SET pull_count = pull_count + p.pulls,
			last_pulled_at = CASE WHEN COALESCE(last_pulled_at, 0) < p.last_at THEN p.last_at ELSE last_pulled_at END
		FROM `+pulledElements+` WHERE repositories.name = p.name`)
	addArtifactPulls = define("add pulls of artifacts", `
		UPDATE artifacts SET pulled_at = p.last_at
		FROM (SELECT m.id, p.last_at FROM `+pulledElements+`
			JOIN repositories r ON r.name = p.name JOIN manifests m ON m.repository_id = r.id AND m.digest = p.digest) AS p
		WHERE artifacts.id = p.id AND COALESCE(pulled_at, 0) < p.last_at`)
	addTagPulls = define("add pulls of tags", `
		UPDATE tags SET pulled_at = p.last_at
		FROM (SELECT r.id, p.tag, p.last_at FROM `+pulledElements+` JOIN repositories r ON r.name = p.name) AS p
		WHERE tags.repository_id = p.id AND tags.name = p.tag AND COALESCE(pulled_at, 0) < p.last_at`)
)

// pulledElement is what a statement that adds pulls reads.
type pulledElement struct {
	Name   oci.Repository `json:"name"`
	Digest oci.Digest     `json:"digest"`
	Tag    string         `json:"tag"`
	Pulls  int64          `json:"pulls"`
	Last   int64          `json:"last"`
}

// AddPulls adds counters of pulls to repositories, and notes when manifests and tags were last pulled. What is gone is passed over.
func (t *Tx) AddPulls(ctx context.Context, pulls []Pulls) error {
	for _, sum := range []struct {
		statement *statement
		of        func(Pulls) pulledElement
		counted   func(pulledElement) bool
	}{
		{addRepositoryPulls, func(p Pulls) pulledElement { return pulledElement{Name: p.Repository} }, func(pulledElement) bool { return true }},
		{addArtifactPulls, func(p Pulls) pulledElement { return pulledElement{Name: p.Repository, Digest: p.Digest} }, func(e pulledElement) bool { return e.Digest != "" }},
		{addTagPulls, func(p Pulls) pulledElement { return pulledElement{Name: p.Repository, Tag: p.Tag} }, func(e pulledElement) bool { return e.Tag != "" }},
	} {
		sums := make(map[pulledElement]pulledElement, len(pulls))
		for _, p := range pulls {
			key := sum.of(p)
			if !sum.counted(key) {
				continue
			}
			e := key
			e.Pulls, e.Last = sums[key].Pulls+p.Count, max(sums[key].Last, p.LastAt.UnixMicro())
			sums[key] = e
		}
		if len(sums) == 0 {
			continue
		}
		elements := make([]pulledElement, 0, len(sums))
		for _, e := range sums {
			elements = append(elements, e)
		}
		slices.SortFunc(elements, func(a, b pulledElement) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Tag, b.Tag))
		})
		list, err := json.Marshal(elements)
		if err != nil {
			return fmt.Errorf("add pulls: %w", err)
		}
		if _, err := t.exec(ctx, sum.statement, string(list)); err != nil {
			return err
		}
	}
	return nil
}
