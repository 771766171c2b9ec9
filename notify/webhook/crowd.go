package webhook

import (
	"context"

	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
)

// crowds are what waits for the targets that a batch of events is told to.
type crowds struct {
	reader metadata.Reader
	// most is how many may wait for one target.
	most int64
	of   map[string]*crowd
	// turned are the targets that turned events away, in the order of the first.
	turned []*crowd
}

// crowd is what waits for one target.
type crowd struct {
	waiting int64
	// away is how many events of the batch it is not told of, the first of which was occurrence.
	away       int
	occurrence occurrence
	policy     metadata.WebhookPolicy
	target     metadata.WebhookTarget
}

// join counts a delivery among those that wait for the target, and reports whether there is room for it.
func (c *crowds) join(ctx context.Context, o occurrence, policy metadata.WebhookPolicy, target metadata.WebhookTarget) (room bool, err error) {
	own := c.of[target.Key]
	if own == nil {
		own = &crowd{policy: policy, target: target}
		if own.waiting, err = c.reader.LaneLength(ctx, Kind, target.Key+"/", int(c.most)); err != nil {
			return false, err
		}
		c.of[target.Key] = own
	}
	most := c.most
	if o.Type == PullArtifact {
		most /= 2
	}
	if own.waiting < most {
		own.waiting++
		return true, nil
	}
	if own.away++; own.away == 1 {
		own.occurrence = o
		c.turned = append(c.turned, own)
	}
	return false, nil
}

// turnedAway returns, for each target that is not told of all, a delivery that stands for what it is not told: it fails at once, so that
// the history, the log and the metrics have it.
func (c *crowds) turnedAway() []jobs.Submission {
	submissions := make([]jobs.Submission, len(c.turned))
	for i, own := range c.turned {
		submissions[i] = jobs.Submission{
			Kind: Kind, SubjectID: own.policy.ID, Cause: jobs.CauseEvent, Actor: own.occurrence.Actor,
			Parameters: Told{EventType: own.occurrence.Type, NotifyType: own.target.Type},
			Tasks: []jobs.Task{{
				Lane:       own.target.Key + "/turned away",
				Parameters: delivery{PolicyID: own.policy.ID, Target: own.target.Key, EventType: own.occurrence.Type, TurnedAway: own.away},
			}},
		}
	}
	return submissions
}
