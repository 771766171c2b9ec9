package robot

import (
	"strings"
	"sync"
)

// Right is an action on a kind of resource, as in the permission matrix.
type Right struct {
	Resource string
	Action   string
}

// What may be given to robots, in letters: C create, R read, U update, D delete, L list.
const (
	systemText = `
audit-log           L
preheat-instance    CRUDL
project             CL
replication-policy  CRUDL
replication         CRL
replication-adapter L
registry            CRUDL
scan-all            CRU stop
system-volumes      R
garbage-collection  CRUL stop
purge-audit         CRUL stop
jobservice-monitor  L stop
scanner             CRUDL
label               CRUD
security-hub        RL
catalog             R
quota               RUL
robot               CRDL
user                CRUDL
ldap-user           CL
user-group          CRUDL`

	projectText = `
project             RUD
member              CRUDL
metadata            CRUDL
log                 L
label               CRUDL
quota               R
repository          RUDL pull push
tag-retention       CRUDL
immutable-tag       CUDL
robot               CRDL
notification-policy CRUDL
scan                CR stop
sbom                CR stop
scanner             CR
artifact            CRDL
artifact-addition   R
tag                 CDL
accessory           L
artifact-label      CD
preheat-policy      CRUDL
export-cve          CR`
)

// SystemRights returns what robots of the registry may be allowed to do to it, and ProjectRights what all robots may be allowed to
// do in projects. Callers do not change them.
var (
	SystemRights  = sync.OnceValue(func() []Right { return rights(systemText) })
	ProjectRights = sync.OnceValue(func() []Right { return rights(projectText) })
)

func rights(text string) (list []Right) {
	letters := map[rune]string{'C': "create", 'R': "read", 'U': "update", 'D': "delete", 'L': "list"}
	for line := range strings.Lines(strings.TrimSpace(text)) {
		words := strings.Fields(line)
		for _, word := range words[1:] {
			if strings.ToUpper(word) != word {
				list = append(list, Right{words[0], word})
				continue
			}
			for _, letter := range word {
				list = append(list, Right{words[0], letters[letter]})
			}
		}
	}
	return list
}
