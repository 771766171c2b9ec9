package project

import (
	"context"
	"slices"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
)

// maxCVE is the longest name of a vulnerability, in bytes; maxExpiry is the last second that a list may have, that of the year 9999.
const (
	maxCVE    = 128
	maxExpiry = 253402300799
)

// Allowlist are vulnerabilities that are let through.
type Allowlist struct {
	CVEs []string
	// ExpiresAt is zero for never.
	ExpiresAt time.Time
}

// row returns the list of a project as it is kept, nil for no list.
func (l *Allowlist) row(projectID int64) (*metadata.CVEAllowlist, error) {
	if l == nil {
		return nil, nil
	}
	cves := slices.Clone(l.CVEs)
	for _, cve := range cves {
		if cve == "" || !printable(cve, maxCVE) {
			return nil, fault.New(fault.Invalid, "%q names no vulnerability", cve)
		}
	}
	if !l.ExpiresAt.IsZero() && (l.ExpiresAt.Unix() < 0 || l.ExpiresAt.Unix() > maxExpiry) {
		return nil, fault.New(fault.Invalid, "the list cannot expire at that time")
	}
	slices.Sort(cves)
	return &metadata.CVEAllowlist{ProjectID: projectID, CVEs: slices.Compact(cves), ExpiresAt: l.ExpiresAt}, nil
}

// SetRegistryAllowlist sets the list of projects that have none of their own. The error is a [*fault.Error] of Invalid.
func (p *Projects) SetRegistryAllowlist(ctx context.Context, actor event.Actor, list Allowlist) error {
	row, err := list.row(0)
	if err != nil {
		return err
	}
	return p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.SetAllowlist(ctx, *row); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.AllowlistUpdated, "", "cve_allowlist")
	})
}
