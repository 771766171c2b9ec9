package query_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/query"
)

func TestParse(t *testing.T) {
	moment := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string][]query.Term{
		"":                                   nil,
		" , ":                                nil,
		"name=alpine":                        {{Field: "name", Form: query.Exact, Values: []any{"alpine"}}},
		"name=42":                            {{Field: "name", Form: query.Exact, Values: []any{"42"}}},
		"name=":                              {{Field: "name", Form: query.Exact, Values: []any{""}}},
		`name=\~x`:                           {{Field: "name", Form: query.Exact, Values: []any{"~x"}}},
		"name=~a=b":                          {{Field: "name", Form: query.Fuzzy, Values: []any{"a=b"}}},
		"push_time=[2026-01-02T03:04:05~]":   {{Field: "push_time", Form: query.Range, Values: []any{moment, nil}}},
		"size=[1~2]":                         {{Field: "size", Form: query.Range, Values: []any{int64(1), int64(2)}}},
		"type={IMAGE 'my, CHART' 3}":         {{Field: "type", Form: query.Union, Values: []any{"IMAGE", "my, CHART", int64(3)}}},
		"labels=(1 2)":                       {{Field: "labels", Form: query.Intersection, Values: []any{int64(1), int64(2)}}},
		"Level%3Dproject%2CProjectID%3D1":    {{Field: "level", Form: query.Exact, Values: []any{"project"}}, {Field: "project_id", Form: query.Exact, Values: []any{"1"}}},
		"name={'p1' 'p2'},public=true":       {{Field: "name", Form: query.Union, Values: []any{"p1", "p2"}}, {Field: "public", Form: query.Exact, Values: []any{"true"}}},
		"blob_digest=sha256:ab,unknown=100%": {{Field: "blob_digest", Form: query.Exact, Values: []any{"sha256:ab"}}, {Field: "unknown", Form: query.Exact, Values: []any{"100%"}}},
	} {
		got, err := query.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"name", "=x", "a=[1 2]", "a=[1~2", "a={x", "a=(x", "a=["} {
		_, err := query.Parse(text)
		require.ErrorIs(t, err, query.ErrSyntax, text)
	}
}

func TestParseSort(t *testing.T) {
	require.Equal(t, []query.Sort{{Field: "name"}, {Field: "creation_time", Descending: true}}, query.ParseSort("name, -creation_time,,"))
	require.Empty(t, query.ParseSort(""))
}

func TestField(t *testing.T) {
	for name, want := range map[string]string{"ProjectID": "project_id", "OpTime": "op_time", "name": "name", "push_time": "push_time", "ID": "id", "": ""} {
		require.Equal(t, want, query.Field(name))
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"name=~a,b=[1~2]", "a={'x y' 2}", "a=(1 2)", `a=\b`, "%2525", "a='"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		terms, err := query.Parse(text)
		if err != nil {
			require.ErrorIs(t, err, query.ErrSyntax)
			return
		}
		for _, term := range terms {
			require.NotEmpty(t, term.Field)
			require.NotZero(t, term.Form)
		}
		query.ParseSort(text)
	})
}
