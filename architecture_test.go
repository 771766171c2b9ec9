package berth_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/berth-registry/berth"

// mayImport says which of our packages a package's shipped code may import. A key or value that ends in "/..." stands for
// everything below as well; the most specific key rules. What is below a package listed here and has no row of its own is a test
// suite or a program that tests start, and may import what its parent may.
var mayImport = map[string][]string{
	// L0: the vocabulary.
	"oci":      {},
	"event":    {},
	"fault":    {},
	"secret":   {},
	"outbound": {},
	"flush":    {},
	"pause":    {},
	// What tests and the programs that they start share.
	"outputtest":           {},
	"storage/s3/s3server":  {"outputtest"},
	"jobs/redis/redistest": {"outputtest"},
	// L1: means. They do not know each other, except that permissions are about principals and SQL keeps everybody's rows.
	"storage/...":  {"pause", "storage/..."},
	"metadata/...": {"oci", "event", "secret", "pause", "metadata/..."},
	"identity":     {"oci", "event", "secret"},
	// Sources and tokens read rows.
	"identity/...": {"oci", "event", "fault", "secret", "flush", "identity/...", "metadata", "setting"},
	"event/follow": {"metadata"},
	"jobs/...":     {"event", "fault", "pause", "metadata", "jobs"},
	"policy/...":   {"oci", "event", "fault", "identity", "identity/fresh", "metadata", "policy/..."},
	"setting":      {"event", "fault", "secret", "identity/fresh", "metadata"},
	// L2: use cases see no HTTP and no SQL.
	"registry/...": {"oci", "event", "fault", "secret", "flush", "jobs", "storage", "metadata", "identity", "policy/...", "registry/..."},
	"project/...":  {"oci", "event", "fault", "secret", "setting", "metadata", "jobs", "identity/...", "policy/...", "project/..."},
	// The proxy cache keeps what it fetches through an interface of its own.
	"replicate/proxy": {"oci", "event", "identity/fresh", "outbound", "pause", "metadata", "jobs", "policy/selector", "replicate/remote"},
	"replicate/...":   {"oci", "event/...", "fault", "secret", "setting", "outbound", "pause", "metadata", "jobs", "policy/selector", "replicate/..."},
	"notify/...":      {"oci", "event/...", "fault", "secret", "flush", "pause", "setting", "outbound", "metadata", "jobs", "notify/..."},
	"health":          {},
	// L3: faces see use cases.
	"api/...":          {"oci", "event", "fault", "setting", "identity/...", "policy/...", "metadata", "jobs", "storage", "registry", "project/...", "notify/...", "replicate", "replicate/adapter", "health", "api/..."},
	"distribution/...": {"oci", "event", "fault", "identity", "identity/token", "policy", "metadata", "storage", "registry", "replicate/proxy", "distribution/..."},
	"api/apitest":      {"..."},
	// L4: wiring sees everything.
	"caddymodules/...": {"..."},
	"cmd/...":          {"..."},
	// Tests of the whole.
	"e2e/...":   {"..."},
	"bench/...": {"..."},
}

// confined says where a third party's package may be imported by shipped code; "module.go" stands for a guest module's file,
// in whichever package.
var confined = map[string][]string{
	"github.com/caddyserver/caddy/v2":  {"caddymodules/...", "cmd/...", "module.go"},
	"github.com/minio/minio-go/v7":     {"storage/s3/..."},
	"github.com/aws/aws-sdk-go-v2":     {"replicate/adapter/ecr"},
	"github.com/casbin/casbin/v2":      {"policy"},
	"github.com/danielgtaylor/huma/v2": {"api"},
	"github.com/coreos/go-oidc/v3":     {"identity/oidc"},
	"github.com/go-ldap/ldap/v3":       {"identity/ldap"},
	"github.com/go-jose/go-jose/v4":    {"identity/token"},
	"github.com/jackc/pgx/v5":          {"metadata/..."},
	"github.com/redis/go-redis/v9":     {"jobs/redis"},
	"github.com/hibiken/asynq":         {"jobs/redis"},
	"github.com/pressly/goose/v3":      {"metadata/..."},
	"modernc.org/sqlite":               {"metadata/..."},
	"database/sql":                     {"metadata/..."},
	"github.com/spf13/cobra":           {"caddymodules/...", "cmd/..."},
	"golang.org/x/oauth2":              {"identity/oidc"},
	"go.uber.org/zap":                  {"caddymodules/..."},
}

// never says what a package may not reach, however long the way.
var never = map[string][]string{
	"oci":          {"net/http", "database/sql", "github.com/caddyserver/caddy/v2"},
	"registry":     {"github.com/caddyserver/caddy/v2", "github.com/minio/minio-go/v7"},
	"distribution": {"github.com/caddyserver/caddy/v2", "github.com/minio/minio-go/v7"},
	"policy":       {"github.com/caddyserver/caddy/v2", "github.com/minio/minio-go/v7"},
}

type listedPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Deps       []string
}

// name is the package's path within the module, "." for its root.
func (p listedPackage) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	command := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,GoFiles,Deps", "./...")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	command.Stderr = os.Stderr
	output, err := command.Output()
	require.NoError(t, err)
	var packages []listedPackage
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p listedPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
	require.NotEmpty(t, packages)
	return packages
}

func TestImports_pointDownwards(t *testing.T) {
	for _, p := range listPackages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		allowed, known := rowFor(p.name())
		if !known {
			t.Errorf("package %s has no row in mayImport: say there which of our packages it may know", p.name())
			continue
		}
		for file, imports := range importsOf(t, p) {
			for _, path := range imports {
				ours, ok := strings.CutPrefix(path, module+"/")
				if ok && !matchesAny(allowed, ours) {
					t.Errorf("%s: %s may not import %s", filepath.Join(p.name(), file), p.name(), ours)
				}
			}
		}
	}
}

func TestImports_sdksAreConfined(t *testing.T) {
	for _, p := range listPackages(t) {
		if matchesAny([]string{"e2e/...", "bench/..."}, p.name()) || strings.HasSuffix(p.name(), "test") {
			continue
		}
		for file, imports := range importsOf(t, p) {
			for _, path := range imports {
				for sdk, homes := range confined {
					if !within(sdk, path) || matchesAny(homes, p.name()) || (file == "module.go" && slices.Contains(homes, file)) {
						continue
					}
					t.Errorf("%s imports %s, which belongs in %s", filepath.Join(p.name(), file), path, strings.Join(homes, ", "))
				}
			}
		}
	}
}

func TestImports_neverReach(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, forbidden := range never[p.name()] {
			for _, dependency := range p.Deps {
				if within(forbidden, dependency) {
					t.Errorf("%s reaches %s: see `go list -deps ./%s`", p.name(), dependency, p.name())
				}
			}
		}
	}
}

func TestPackages_haveOneDocComment(t *testing.T) {
	for _, p := range listPackages(t) {
		var documented []string
		for file, parsed := range parse(t, p, parser.PackageClauseOnly|parser.ParseComments) {
			if parsed.Doc != nil && strings.TrimSpace(parsed.Doc.Text()) != "" {
				documented = append(documented, file)
			}
		}
		if len(p.GoFiles) > 0 && len(documented) != 1 {
			t.Errorf("package %s must be documented in exactly one file, and is in %q", p.name(), documented)
		}
	}
}

func TestFiles_areShort(t *testing.T) {
	const most = 500
	for _, p := range listPackages(t) {
		for _, file := range p.GoFiles {
			content, err := os.ReadFile(filepath.Join(p.Dir, file))
			require.NoError(t, err)
			if lines := bytes.Count(content, []byte("\n")); lines > most {
				t.Errorf("%s has %d lines: more than %d are more than one story", filepath.Join(p.name(), file), lines, most)
			}
		}
	}
}

func TestPackages_needNoC(t *testing.T) {
	for _, p := range listPackages(t) {
		if slices.Contains(p.Deps, "runtime/cgo") {
			t.Errorf("%s needs cgo", p.name())
		}
	}
}

// rowFor returns the row of the longest key that matches.
func rowFor(name string) (allowed []string, known bool) {
	longest := -1
	for key, row := range mayImport {
		if matches(key, name) && len(key) > longest {
			longest, allowed, known = len(key), row, true
		}
	}
	return allowed, known
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, name) })
}

func matches(pattern, name string) bool {
	if pattern == "..." {
		return true
	}
	if parent, below := strings.CutSuffix(pattern, "/..."); below {
		return within(parent, name)
	}
	return pattern == name
}

// within tells whether path is root or below it.
func within(root, path string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

func importsOf(t *testing.T, p listedPackage) map[string][]string {
	t.Helper()
	imports := map[string][]string{}
	for file, parsed := range parse(t, p, parser.ImportsOnly) {
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			imports[file] = append(imports[file], path)
		}
	}
	return imports
}

func parse(t *testing.T, p listedPackage, mode parser.Mode) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	for _, file := range p.GoFiles {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, mode)
		require.NoError(t, err)
		files[file] = parsed
	}
	return files
}
