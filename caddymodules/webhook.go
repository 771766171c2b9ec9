package caddymodules

import (
	"time"

	"github.com/berth-registry/berth/event/follow"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/notify/webhook"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

// webhookLease is how long after the death of the gateway that makes deliveries another one does.
const webhookLease = 10 * time.Second

// openSender makes what brings deliveries to their receivers.
func (s *services) openSender(settings settings, store *metadata.Store, box *secret.Box, configuration *setting.Settings) {
	s.sender = webhook.NewSender(webhook.SenderOptions{
		Store: store, Box: box, Settings: configuration, Networks: settings.outbound, UserAgent: "berth/" + version(), Logger: s.logger,
		Observe: func(outcome string, n int) { metrics.deliveries.WithLabelValues(outcome).Add(float64(n)) },
	})
	s.onClose(s.sender.Close)
}

// openWebhooks makes what administers webhooks, and starts what makes deliveries of events.
func (s *services) openWebhooks(settings settings, store *metadata.Store, box *secret.Box, configuration *setting.Settings) {
	s.webhooks = webhook.NewPolicies(webhook.PoliciesOptions{Store: store, Box: box, Sender: s.sender, Jobs: s.jobs})
	dispatcher := webhook.NewDispatcher(webhook.DispatcherOptions{
		Store: store, Jobs: s.jobs, Settings: configuration, ExternalURL: settings.externalURL, Logger: s.logger,
	})
	follower := follow.New(follow.Options{
		Store: store, Name: webhook.Follower, Handle: dispatcher.Handle, Written: s.jobs.Wake, Logger: s.logger, Lease: webhookLease,
	})
	s.run(follower.Run)
}
