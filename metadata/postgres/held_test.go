package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
)

// TestExecution_waitsForNoOther holds a transaction that has created an execution, and creates another one meanwhile.
func TestExecution_waitsForNoOther(t *testing.T) {
	store := open(t, postgres.Options{URL: postgrestest.Start(t)})
	require.NoError(t, store.Migrate(t.Context()))
	create := func(ctx context.Context, tx *metadata.Tx) error {
		e, err := tx.CreateExecution(ctx, metadata.Execution{Kind: "PURGE", Parameters: "{}"})
		if err != nil {
			return err
		}
		_, err = tx.CreateTask(ctx, metadata.Task{ExecutionID: e.ID, Kind: "PURGE", Parameters: "{}"})
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := create(ctx, tx); err != nil {
			return err
		}
		other := make(chan error, 1)
		go func() { other <- store.Tx(t.Context(), create) }()
		select {
		case err := <-other:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	_, total, err := store.Executions(ctx, "PURGE", metadata.Query{})
	require.NoError(t, err)
	require.EqualValues(t, 2, total)
}
