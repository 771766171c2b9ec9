package retention

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy/selector"
)

// Judgement is what a policy says of the artifacts of a repository. A repository may have millions, so it remembers of each its digest,
// a few numbers and which rules are about it, and neither tags nor labels.
type Judgement struct {
	rules []Rule
	// All of these are in the order of the digests.
	digests        []oci.Digest
	pushed, pulled []int64 // microseconds
	// selected has a bit for each rule that is about the artifact, and untagged for one without a tag.
	selected []uint16
	reasons  []reason
	// protected are the reasons of those that are kept whatever the rules say.
	protected map[int32]string
	// children are indexes and what they list, subjects attachments and what they are about, attachments the same the other way round.
	children, subjects, attachments []pair
}

// untagged is the bit after those of the rules.
const untagged = 1 << MaxRules

// pair is of two artifacts, by their places; pairs are in the order of the first.
type pair struct{ first, second int32 }

// nowhere is the place of what the repository does not have.
const nowhere = -1

// of returns the pairs of a first.
func of(pairs []pair, first int32) []pair {
	byFirst := func(p pair, first int32) int { return cmp.Compare(p.first, first) }
	from, _ := slices.BinarySearchFunc(pairs, first, byFirst)
	to, _ := slices.BinarySearchFunc(pairs, first+1, byFirst)
	return pairs[from:to]
}

// reason is why an artifact is kept: what for, and which rule or artifact that is about.
type reason struct {
	why   why
	about int32
}

type why uint8

const (
	unwanted why = iota
	withoutRules
	byProtection
	byRule
	withoutSubject
	listedBy
	attachedTo
	carries
)

// Judge judges the artifacts of a repository, which come in the order of their digests; repository is the name within the project. An
// artifact of which a rule selects any tag is judged whole. What an index that is kept lists is kept, and so is what is attached to what
// is kept, or has such attached; an attachment to something else is judged with it, and one whose subject the repository does not have
// is kept. Who pulls an index pulls one of what it lists, so that a pull of one counts as a pull of the other. The error is that of the
// artifacts.
func (p Policy) Judge(repository string, artifacts iter.Seq2[Artifact, error], now time.Time) (*Judgement, error) {
	j := &Judgement{rules: p.about(repository), protected: map[int32]string{}}
	related := &relations{}
	for a, err := range artifacts {
		if err != nil {
			return nil, err
		}
		j.add(a, related)
	}
	j.relate(related)
	j.reasons = make([]reason, len(j.digests))
	if len(j.rules) == 0 {
		for i := range j.reasons {
			j.reasons[i].why = withoutRules
		}
		return j, nil
	}
	var open []int32
	for i := range j.protected {
		open = j.keep(open, i, byProtection, 0)
	}
	for n, rule := range j.rules {
		for _, i := range j.keptBy(n, rule, now) {
			open = j.keep(open, i, byRule, int32(n)) //nolint:gosec // rules are few
		}
	}
	j.keepWhole(open)
	return j, nil
}

// Len is how many artifacts there are.
func (j *Judgement) Len() int { return len(j.digests) }

// Find returns the place of an artifact, and reports whether it was judged.
func (j *Judgement) Find(digest oci.Digest) (int, bool) {
	return slices.BinarySearch(j.digests, digest)
}

// Keeps reports whether the artifact at a place is kept.
func (j *Judgement) Keeps(i int) bool { return j.reasons[i].why != unwanted }

// Digest returns that of the artifact at a place; places are in the order of the digests.
func (j *Judgement) Digest(i int) oci.Digest { return j.digests[i] }

// Verdict returns the one on the artifact at a place.
func (j *Judgement) Verdict(i int) Verdict {
	v := Verdict{Digest: j.digests[i], Keep: j.Keeps(i)}
	switch r := j.reasons[i]; r.why {
	case withoutRules:
		v.Reason = "no rule is about the repository"
	case byProtection:
		v.Reason = j.protected[int32(i)] //nolint:gosec // a place
	case byRule:
		v.Reason = "kept by the rule: " + j.rules[r.about].String()
	case withoutSubject:
		v.Reason = "what it is attached to is not in the repository"
	case listedBy:
		v.Reason = "listed by " + j.digests[r.about].String()
	case attachedTo:
		v.Reason = "attached to " + j.digests[r.about].String()
	case carries:
		v.Reason = j.digests[r.about].String() + " is attached to it"
	default:
		v.Reason = "kept by no rule"
	}
	return v
}

// relations are what artifacts have to do with each other, until the places of all are known.
type relations struct {
	children, subjects []related
}

type related struct {
	from int32
	to   oci.Digest
}

// add remembers an artifact.
func (j *Judgement) add(a Artifact, relations *relations) {
	i := int32(len(j.digests)) //nolint:gosec // two thousand million artifacts do not fit anyway
	for _, child := range a.Children {
		relations.children = append(relations.children, related{i, child})
	}
	if a.Subject != "" {
		relations.subjects = append(relations.subjects, related{i, a.Subject})
	}
	if a.Protected != "" {
		j.protected[i] = a.Protected
	}
	var selected uint16
	if len(a.Tags) == 0 {
		selected = untagged
	}
	for n, rule := range j.rules {
		if rule.selects(a) {
			selected |= 1 << n
		}
	}
	j.digests = append(j.digests, a.Digest)
	j.pushed = append(j.pushed, a.PushedAt.UnixMicro())
	j.pulled = append(j.pulled, a.PulledAt.UnixMicro())
	j.selected = append(j.selected, selected)
}

// selects reports whether the rule is about the artifact. What is attached to something has no tag because it needs none, so it is not
// "untagged".
func (r Rule) selects(a Artifact) bool {
	if slices.ContainsFunc(r.Labels, func(s LabelSelector) bool { return !s.Selects(a.Labels) }) {
		return false
	}
	if len(a.Tags) == 0 {
		return r.Untagged && a.Subject == ""
	}
	return slices.ContainsFunc(a.Tags, func(tag string) bool { return selects(r.Tags, tag) })
}

func selects(selectors []selector.Selector, name string) bool {
	return !slices.ContainsFunc(selectors, func(s selector.Selector) bool { return !s.Selects(name) })
}

// relate finds the places of what artifacts have to do with each other.
func (j *Judgement) relate(found *relations) {
	own := slices.Clone(j.pulled)
	for _, r := range found.children {
		child, here := slices.BinarySearch(j.digests, r.to)
		if !here {
			continue
		}
		j.children = append(j.children, pair{r.from, int32(child)}) //nolint:gosec // a place
		j.pulled[r.from] = max(j.pulled[r.from], own[child])
		if j.selected[child]&untagged != 0 {
			j.selected[child] = 0 // it has no tag because it needs none
		}
	}
	for _, r := range found.subjects {
		subject, here := slices.BinarySearch(j.digests, r.to)
		if !here {
			j.subjects = append(j.subjects, pair{r.from, nowhere})
			continue
		}
		j.subjects = append(j.subjects, pair{r.from, int32(subject)})       //nolint:gosec // a place
		j.attachments = append(j.attachments, pair{int32(subject), r.from}) //nolint:gosec // a place
	}
	slices.SortFunc(j.attachments, func(a, b pair) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.second, b.second)) })
}

// keptBy returns the places of the artifacts that the n-th rule keeps.
func (j *Judgement) keptBy(n int, rule Rule, now time.Time) []int32 {
	since := now.AddDate(0, 0, -rule.Number).UnixMicro()
	var places []int32
	for i, selected := range j.selected {
		late := rule.Template == PushedWithin && j.pushed[i] < since || rule.Template == PulledWithin && j.pulled[i] < since
		if selected&(1<<n) != 0 && !late {
			places = append(places, int32(i)) //nolint:gosec // a place
		}
	}
	switch rule.Template {
	case LatestPushed:
		return latest(places, rule.Number, j.pushed)
	case LatestPulled:
		return latest(places, rule.Number, j.pulled)
	}
	return places
}

// latest returns the n places with the latest times; of equal times the order of digests decides, so that two runs agree.
func latest(places []int32, n int, at []int64) []int32 {
	slices.SortFunc(places, func(a, b int32) int { return cmp.Or(cmp.Compare(at[b], at[a]), cmp.Compare(a, b)) })
	return places[:min(n, len(places))]
}

// keep notes why the artifact at a place is kept, unless that is known, and then adds it to the open ones.
func (j *Judgement) keep(open []int32, i int32, why why, about int32) []int32 {
	if j.reasons[i].why != unwanted {
		return open
	}
	j.reasons[i] = reason{why, about}
	return append(open, i)
}

// keepWhole keeps what is listed by or attached to what is kept, however deep.
func (j *Judgement) keepWhole(open []int32) {
	for _, p := range j.subjects {
		if p.second == nowhere {
			open = j.keep(open, p.first, withoutSubject, 0)
		}
	}
	for len(open) > 0 {
		i := open[len(open)-1]
		open = open[:len(open)-1]
		for _, p := range of(j.children, i) {
			open = j.keep(open, p.second, listedBy, i)
		}
		for _, p := range of(j.attachments, i) {
			open = j.keep(open, p.second, attachedTo, i)
		}
		// What is attached goes with what it is attached to, so that has to stay.
		for _, p := range of(j.subjects, i) {
			if p.second != nowhere {
				open = j.keep(open, p.second, carries, i)
			}
		}
	}
}
