package sqlite_test

import "net/url"

func sqliteURL(path string) string {
	return (&url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(10000)"}).String()
}
