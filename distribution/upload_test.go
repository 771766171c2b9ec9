package distribution_test

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/oci"
)

// stream hides the length, so that net/http sends the body in chunks as docker does.
type stream struct{ io.Reader }

func TestUpload_asDockerPushes(t *testing.T) {
	s := newServer(t, nil)
	content := noise(1, 3<<20)
	digest := oci.SHA256.FromBytes(content)
	s.want(404, s.do("HEAD", blobPath("library/app", digest), nil))

	started := s.want(202, s.do("POST", "/v2/library/app/blobs/uploads/", nil))
	assert.Equal(t, "0-0", started.Header.Get("Range"), "docker cannot read a range that ends before it begins")
	assert.NotEmpty(t, started.Header.Get("Docker-Upload-UUID"))
	location := started.Header.Get("Location")
	assert.True(t, strings.HasPrefix(location, "/v2/library/app/blobs/uploads/"), "locations are relative: %s", location)

	patched := s.want(202, s.do("PATCH", location, stream{bytes.NewReader(content)}))
	assert.Equal(t, fmt.Sprintf("0-%d", len(content)-1), patched.Header.Get("Range"))
	created := s.want(201, s.do("PUT", patched.Header.Get("Location")+"?digest="+digest.String(), nil))
	assert.Equal(t, blobPath("library/app", digest), created.Header.Get("Location"))
	assert.Equal(t, digest.String(), created.Header.Get("Docker-Content-Digest"))

	assert.Equal(t, content, s.want(200, s.get(blobPath("library/app", digest))).body)
	assert.Equal(t, "BLOB_UPLOAD_UNKNOWN", s.want(404, s.get(location)).code())
	assert.True(t, s.observed.has(observation{"upload_append", 202, int64(len(content)), 0}))
	assert.True(t, s.observed.has(observation{"blob_get", 200, 0, int64(len(content))}))
}

func TestUpload_asContainerdPushes(t *testing.T) {
	s := newServer(t, nil)
	for _, size := range []int{0, 1, 100 << 10, 5 << 20} {
		content := noise(2, size)
		digest := oci.SHA256.FromBytes(content)
		s.want(201, s.do("PUT", s.start("library/app")+"?digest="+digest.String(), bytes.NewReader(content)))
		assert.Equal(t, content, s.want(200, s.get(blobPath("library/app", digest))).body)
	}
}

func TestUpload_sha512(t *testing.T) {
	s := newServer(t, nil)
	content := noise(3, 300<<10)
	digest := oci.Digest(fmt.Sprintf("sha512:%x", sha512.Sum512(content)))
	finish := func(location string, status int, digest oci.Digest) response {
		s.want(202, s.do("PATCH", location, bytes.NewReader(content[:200<<10])))
		return s.want(status, s.do("PUT", location+"?digest="+digest.String(), bytes.NewReader(content[200<<10:])))
	}
	finish(s.start("library/a"), 201, digest)
	assert.Equal(t, content, s.want(200, s.get(blobPath("library/a", digest))).body)

	fixed := s.want(202, s.do("POST", "/v2/library/b/blobs/uploads/?digest-algorithm=sha512", nil)).Header.Get("Location")
	finish(fixed, 201, digest)
	fixed = s.want(202, s.do("POST", "/v2/library/b/blobs/uploads/?digest-algorithm=sha512", nil)).Header.Get("Location")
	assert.Equal(t, "DIGEST_INVALID", finish(fixed, 400, oci.SHA256.FromBytes(content)).code())
	assert.Equal(t, "DIGEST_INVALID", s.want(400, s.do("POST", "/v2/library/b/blobs/uploads/?digest-algorithm=md5", nil)).code())
}

func TestUpload_chunkOutOfOrderIsRefusedAndTheUploadGoesOn(t *testing.T) {
	s := newServer(t, nil)
	content := noise(4, 4096)
	digest := oci.SHA256.FromBytes(content)
	location := s.start("library/app")
	s.want(202, s.do("PATCH", location, bytes.NewReader(content[:1024]), "Content-Range: 0-1023"))
	for _, method := range []string{"PATCH", "PUT"} {
		refused := s.want(416, s.do(method, location+"?digest="+digest.String(), bytes.NewReader(content[2048:]), "Content-Range: 2048-4095"))
		assert.Equal(t, "BLOB_UPLOAD_INVALID", refused.code())
		assert.Equal(t, "0-1023", refused.Header.Get("Range"))
		assert.Equal(t, location, refused.Header.Get("Location"))
		assert.NotEmpty(t, refused.Header.Get("Docker-Upload-UUID"))
	}
	status := s.want(204, s.get(location))
	assert.Equal(t, "0-1023", status.Header.Get("Range"))
	s.want(202, s.do("PATCH", location, bytes.NewReader(content[1024:2048]), "Content-Range: 1024-2047"))
	s.want(201, s.do("PUT", location+"?digest="+digest.String(), bytes.NewReader(content[2048:]), "Content-Range: 2048-4095"))
	assert.Equal(t, content, s.get(blobPath("library/app", digest)).body)
}

func TestUpload_malformed(t *testing.T) {
	s := newServer(t, nil)
	location := s.start("library/app")
	body := func() io.Reader { return strings.NewReader("abc") }
	assert.Equal(t, "BLOB_UPLOAD_INVALID", s.want(400, s.do("PATCH", location, body(), "Content-Range: three")).code())
	assert.Equal(t, "SIZE_INVALID", s.want(400, s.do("PATCH", location, body(), "Content-Range: 0-99")).code())
	assert.Equal(t, "DIGEST_INVALID", s.want(400, s.do("PUT", location, body())).code())
	assert.Equal(t, "DIGEST_INVALID", s.want(400, s.do("PUT", location+"?digest=md5:abc", body())).code())
	assert.Equal(t, "BLOB_UPLOAD_UNKNOWN", s.want(404, s.do("PATCH", "/v2/library/app/blobs/uploads/%00", body())).code())
	assert.Equal(t, "BLOB_UPLOAD_UNKNOWN", s.want(404, s.do("PATCH", strings.Replace(location, "app", "other", 1), body())).code(),
		"an upload belongs to its repository")
	assert.Equal(t, "0-0", s.want(204, s.get(location)).Header.Get("Range"))
}

func TestUpload_wrongDigestEndsIt(t *testing.T) {
	s := newServer(t, nil)
	wrong := oci.SHA256.FromString("something else").String()
	for _, patch := range []bool{false, true} {
		location := s.start("library/app")
		if patch {
			s.want(202, s.do("PATCH", location, strings.NewReader("abc")))
		}
		assert.Equal(t, "DIGEST_INVALID", s.want(400, s.do("PUT", location+"?digest="+wrong, strings.NewReader("def"))).code())
		s.want(404, s.get(location))
	}
	assert.Equal(t, "DIGEST_INVALID", s.want(400, s.do("POST", "/v2/library/app/blobs/uploads/?digest="+wrong, strings.NewReader("abc"))).code())
	s.want(404, s.get("/v2/library/app/blobs/"+wrong))
}

func TestUpload_cancelled(t *testing.T) {
	s := newServer(t, nil)
	location := s.start("library/app")
	s.want(202, s.do("PATCH", location, strings.NewReader("abc")))
	s.want(204, s.do("DELETE", location, nil))
	s.want(404, s.do("DELETE", location, nil))
	s.want(404, s.do("PATCH", location, strings.NewReader("abc")))
}

func TestUpload_expired(t *testing.T) {
	s := newServer(t, nil)
	location := s.start("library/app")
	s.clock.advance(23 * time.Hour)
	s.want(202, s.do("PATCH", location, strings.NewReader("abc")))
	s.clock.advance(23 * time.Hour)
	s.want(204, s.get(location))
	s.clock.advance(2 * time.Hour)
	assert.Equal(t, "BLOB_UPLOAD_UNKNOWN", s.want(404, s.get(location)).code())
	s.want(404, s.do("PATCH", location, strings.NewReader("def")))
}

// dribble sends a request's head and a part of its body, and leaves the connection open.
func (s *server) dribble(method, path string, length int, part []byte) net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(s.t, err)
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: registry.test\r\nContent-Length: %d\r\n\r\n", method, path, length)
	require.NoError(s.t, err)
	_, err = conn.Write(part)
	require.NoError(s.t, err)
	return conn
}

func (s *server) eventuallyAt(location, position string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.want(204, s.get(location)).Header.Get("Range") == position }, 10*time.Second, 5*time.Millisecond)
}

func TestUpload_cutOffGoesOnWhereItEnded(t *testing.T) {
	for _, method := range []string{"PATCH", "PUT"} {
		t.Run(method, func(t *testing.T) {
			s := newServer(t, nil)
			content := noise(5, 1<<20)
			digest := oci.SHA256.FromBytes(content)
			location := s.start("library/app")
			conn := s.dribble(method, location+"?digest="+digest.String(), len(content), content[:700_000])
			require.NoError(t, conn.Close())
			s.eventuallyAt(location, "0-699999")
			s.want(201, s.do("PUT", location+"?digest="+digest.String(), bytes.NewReader(content[700_000:]), "Content-Range: 700000-1048575"))
			assert.Equal(t, content, s.get(blobPath("library/app", digest)).body)
			assert.NotContains(t, s.log.String(), "level=ERROR", "a client that goes away is no fault of the registry")
		})
	}
}

func TestUpload_stalledRequestDoesNotKeepTheUpload(t *testing.T) {
	s := newServer(t, nil)
	content := noise(6, 512<<10)
	digest := oci.SHA256.FromBytes(content)
	location := s.start("library/app")
	s.want(202, s.do("PATCH", location, bytes.NewReader(content[:1000])))
	stalled := s.dribble("PATCH", location, 100_000, bytes.Repeat([]byte("x"), 50_000))
	defer stalled.Close()
	require.Eventually(t, func() bool { return s.registry.Stats().Uploading == 1 }, 5*time.Second, time.Millisecond)

	s.want(202, s.do("PATCH", location, bytes.NewReader(content[1000:]), fmt.Sprintf("Content-Range: 1000-%d", len(content)-1)))
	s.want(201, s.do("PUT", location+"?digest="+digest.String(), nil))
	assert.Equal(t, content, s.get(blobPath("library/app", digest)).body)
}

func TestUpload_racingWritersNeverMix(t *testing.T) {
	s := newServer(t, nil)
	for round := range 10 {
		contents := make([][]byte, 4)
		for i := range contents {
			contents[i] = noise(uint64(100+10*round+i), 300<<10)
		}
		location := s.start("library/app")
		s.want(202, s.do("PATCH", location, strings.NewReader("head")))
		var wait sync.WaitGroup
		statuses := make([]int, len(contents))
		for i := range contents {
			wait.Go(func() {
				request, _ := http.NewRequest("PATCH", s.url+location, stream{bytes.NewReader(contents[i])})
				request.Header.Set("Content-Range", fmt.Sprintf("4-%d", 4+len(contents[i])-1))
				answer, err := client.Do(request)
				if err == nil {
					statuses[i] = answer.StatusCode
					answer.Body.Close()
				}
			})
		}
		wait.Wait()
		winner := -1
		for i, status := range statuses {
			if status == 202 {
				require.Equal(t, -1, winner, "two writers were told that the same bytes are theirs")
				winner = i
			} else {
				require.Contains(t, []int{416, 0}, status, "%v\n%s", statuses, s.log)
			}
		}
		require.NotEqual(t, -1, winner, "somebody must win: %v\n%s", statuses, s.log)
		whole := append([]byte("head"), contents[winner]...)
		digest := oci.SHA256.FromBytes(whole)
		s.want(201, s.do("PUT", location+"?digest="+digest.String(), nil))
		require.Equal(t, whole, s.get(blobPath("library/app", digest)).body)
	}
}

func TestUpload_concurrentFinishOfOneUpload(t *testing.T) {
	s := newServer(t, nil)
	content := noise(7, 100<<10)
	digest := oci.SHA256.FromBytes(content)
	for _, patched := range []bool{false, true} {
		location := s.start("library/app")
		rest := content
		if patched {
			s.want(202, s.do("PATCH", location, bytes.NewReader(content[:50_000])))
			rest = content[50_000:]
		}
		statuses := make(chan int, 4)
		for range cap(statuses) {
			go func() {
				request, _ := http.NewRequest("PUT", s.url+location+"?digest="+digest.String(), bytes.NewReader(rest))
				answer, err := client.Do(request)
				if err != nil {
					statuses <- 0
					return
				}
				answer.Body.Close()
				statuses <- answer.StatusCode
			}()
		}
		created := 0
		for range cap(statuses) {
			if status := <-statuses; status == 201 {
				created++
			} else {
				assert.Contains(t, []int{0, 416}, status)
			}
		}
		assert.Positive(t, created, s.log.String())
		assert.Equal(t, content, s.get(blobPath("library/app", digest)).body)
	}
}

func TestUpload_finishedAgainAfterALostAnswer(t *testing.T) {
	s := newServer(t, nil)
	content := noise(8, 2<<20)
	digest := oci.SHA256.FromBytes(content)
	for name, patched := range map[string]int{"monolithic": 0, "last chunk": 1 << 20, "nothing left": len(content)} {
		t.Run(name, func(t *testing.T) {
			repository := "library/" + strings.ReplaceAll(name, " ", "-")
			location := s.start(repository)
			if patched > 0 {
				s.want(202, s.do("PATCH", location, bytes.NewReader(content[:patched])))
			}
			finish := func(digest oci.Digest) response {
				return s.do("PUT", location+"?digest="+digest.String(), stream{bytes.NewReader(content[patched:])})
			}
			first := s.want(201, finish(digest))
			again := s.want(201, finish(digest))
			assert.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
			assert.Equal(t, digest.String(), again.Header.Get("Docker-Content-Digest"))
			assert.Equal(t, content, s.want(200, s.get(blobPath(repository, digest))).body)

			s.want(404, finish(oci.SHA256.FromString("something else")))
			s.want(404, s.do("PATCH", location, strings.NewReader("more")))
			s.want(404, s.get(location))
			s.want(202, s.do("DELETE", blobPath(repository, digest), nil))
			assert.Equal(t, "BLOB_UPLOAD_UNKNOWN", s.want(404, finish(digest)).code(), "the blob is not there any more")
		})
	}
}

func TestUpload_finishedAgainTellsNothingOfOtherRepositories(t *testing.T) {
	s := newServer(t, nil)
	digest := s.pushBlob("secret/app", []byte("known elsewhere"))
	location := s.start("library/app")
	s.want(204, s.do("DELETE", location, nil))
	refused := func(digest oci.Digest) response {
		return s.want(404, s.do("PUT", location+"?digest="+digest.String(), strings.NewReader("known elsewhere")))
	}
	assert.Equal(t, refused(oci.SHA256.FromString("nobody has it")).body, refused(digest).body)
}

func TestUpload_projectUnknown(t *testing.T) {
	s := newServer(t, nil)
	digest := oci.SHA256.FromString("abc").String()
	for _, query := range []string{"", "?digest=" + digest, "?mount=" + digest + "&from=library/x", "?mount=" + digest} {
		refused := s.want(404, s.do("POST", "/v2/nowhere/app/blobs/uploads/"+query, strings.NewReader("abc")))
		assert.Equal(t, "NAME_UNKNOWN", refused.code())
		assert.Contains(t, string(refused.body), "berth project create nowhere")
	}
	assert.Equal(t, "NAME_UNKNOWN", s.want(404, s.do("POST", "/v2/app/blobs/uploads/", nil)).code())
}

func TestMount(t *testing.T) {
	s := newServer(t, everybody{refused: map[oci.Repository]bool{"secret/app": true}, unasked: map[oci.Repository]bool{"library/unasked": true}})
	digest := s.pushBlob("library/app", []byte("shared"))
	missing := oci.SHA256.FromString("nobody has it")
	for name, test := range map[string]struct {
		query  string
		status int
	}{
		"from a readable repository":   {"mount=" + digest.String() + "&from=library/app", 201},
		"from itself":                  {"mount=" + digest.String() + "&from=library/target", 202},
		"from one without the blob":    {"mount=" + missing.String() + "&from=library/app", 202},
		"from one that does not exist": {"mount=" + digest.String() + "&from=library/none", 202},
		"from one that was refused":    {"mount=" + digest.String() + "&from=secret/app", 202},
		"from a name that cannot be":   {"mount=" + digest.String() + "&from=..%2Fapp", 202},
		"from one not asked for":       {"mount=" + digest.String() + "&from=library/unasked", 401},
		"from anywhere":                {"mount=" + digest.String(), 201},
		"of what nobody has":           {"mount=" + missing.String(), 202},
		"of what is no digest":         {"mount=abc&from=library/app", 400},
	} {
		t.Run(name, func(t *testing.T) {
			target := "library/target"
			if test.status == 201 {
				target += "-" + strings.ReplaceAll(name, " ", "-")
			}
			answer := s.want(test.status, s.do("POST", "/v2/"+target+"/blobs/uploads/?"+test.query, nil))
			switch test.status {
			case 201:
				assert.Equal(t, blobPath(target, digest), answer.Header.Get("Location"))
				assert.Equal(t, "shared", string(s.want(200, s.get(blobPath(target, digest))).body))
			case 202:
				s.want(204, s.get(answer.Header.Get("Location")))
			case 401:
				assert.Equal(t, challenge, answer.Header.Get("WWW-Authenticate"))
				assert.Equal(t, "UNAUTHORIZED", answer.code())
			}
		})
	}
}
