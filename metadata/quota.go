package metadata

// Unlimited is the limit of a project that may hold whatever there is room for; MaxLimit is the highest that can be set, 1 EiB.
const (
	Unlimited = -1
	MaxLimit  = 1 << 60
)
