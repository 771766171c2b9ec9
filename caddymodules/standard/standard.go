// Package standard puts Berth with all its own guest modules into a Caddy: import it for its effect. A third party's storage or
// database is imported beside it in the same way.
package standard

import (
	_ "github.com/berth-registry/berth/caddymodules"
	_ "github.com/berth-registry/berth/jobs/embedded"
	_ "github.com/berth-registry/berth/jobs/redis"
	_ "github.com/berth-registry/berth/metadata/postgres"
	_ "github.com/berth-registry/berth/metadata/sqlite"
	_ "github.com/berth-registry/berth/storage/filesystem"
	_ "github.com/berth-registry/berth/storage/s3"
)
