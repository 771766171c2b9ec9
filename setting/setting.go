// Package setting keeps what an administrator configures while the registry runs: one value for all gateways, in SQL, read from a
// memory that is at most [Staleness] old. What the operator has pinned in the configuration file wins and cannot be changed here.
package setting

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity/fresh"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/secret"
)

// Staleness is how long another gateway may go on with earlier values; the one that changed them has them at once.
const Staleness = 5 * time.Second

// outage is how long the last values are believed while the database does not answer.
const outage = time.Hour

// prefix is how the names of these rows begin among all settings of the installation.
const prefix = "configuration/"

// Options set [Settings] up.
type Options struct {
	Store *metadata.Store
	// Box seals the values of secret keys.
	Box *secret.Box
	// Pinned are values of the configuration file, of the type of their key.
	Pinned map[*Key]any
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Settings are the values of all keys. They are safe for concurrent use.
type Settings struct {
	options Options
	memory  *fresh.Memory[struct{}, Values]
}

// New returns the settings of a store.
func New(options Options) *Settings {
	s := &Settings{options: options}
	s.memory = fresh.New(func(ctx context.Context, _ struct{}) (Values, time.Duration, error) {
		values, err := s.read(ctx)
		return values, Staleness, err
	}, fresh.Options{Size: 1, Stale: outage, Now: options.Now})
	return s
}

// Values are the values of all keys at one moment.
type Values struct {
	set    map[*Key]any
	pinned map[*Key]any
}

// Value returns the value of a key, of the type of its kind.
func (v Values) Value(key *Key) any {
	if value, ok := v.pinned[key]; ok {
		return value
	}
	if value, ok := v.set[key]; ok {
		return value
	}
	return key.Default
}

// Text returns the value of a text or secret.
func (v Values) Text(key *Key) string { return v.Value(key).(string) }

// Number returns the value of a number.
func (v Values) Number(key *Key) int64 { return v.Value(key).(int64) }

// On returns the value of a switch.
func (v Values) On(key *Key) bool { return v.Value(key).(bool) }

// Pinned reports whether the configuration file has the value, so that it cannot be changed.
func (v Values) Pinned(key *Key) bool {
	_, pinned := v.pinned[key]
	return pinned
}

// Values returns all values, at most [Staleness] old. The error is the database's, when it has not answered for an hour.
func (s *Settings) Values(ctx context.Context) (Values, error) {
	return s.memory.Get(ctx, struct{}{})
}

// Update changes the values of keys, all or none, with its event. The values are as [Key.Check] takes them. The error is a
// [*fault.Error] when a value is not what its key can be, or its key is pinned to another value.
func (s *Settings) Update(ctx context.Context, actor event.Actor, changes map[*Key]any) error {
	converted := make(map[*Key]any, len(changes))
	for key, value := range changes {
		value, err := key.Check(value)
		if err != nil {
			return err
		}
		if pinned, ok := s.options.Pinned[key]; ok {
			if pinned != value {
				return fault.New(fault.Forbidden, "setting %s is pinned in the configuration file of the server: change it there", key.Name)
			}
			continue
		}
		converted[key] = value
	}
	if len(converted) == 0 {
		return nil
	}
	before, err := s.read(ctx)
	if err != nil {
		return err
	}
	maps.Copy(before.set, converted)
	if err := checkTogether(before); err != nil {
		return err
	}
	ordered := slices.SortedFunc(maps.Keys(converted), func(a, b *Key) int { return strings.Compare(a.Name, b.Name) })
	err = s.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		names := make([]string, 0, len(ordered))
		for _, key := range ordered {
			encoded, err := s.encode(key, converted[key])
			if err != nil {
				return err
			}
			if err := tx.PutSetting(ctx, prefix+key.Name, encoded); err != nil {
				return err
			}
			names = append(names, key.Name)
		}
		e := actor.Event(event.SettingsUpdated)
		e.Subject = strings.Join(names, ",")
		return tx.AppendEvent(ctx, e)
	})
	if err != nil {
		return fmt.Errorf("update settings: %w", err)
	}
	s.memory.Forget()
	return nil
}

// convert returns a value as the key's type.
func (k *Key) convert(value any) (any, error) {
	switch v := value.(type) {
	case string:
		switch k.Kind {
		case Text, Secret:
			return v, nil
		case Number:
			if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
				return n, nil
			}
		case Switch:
			if v == "true" || v == "false" {
				return v == "true", nil
			}
		}
	case bool:
		if k.Kind == Switch {
			return v, nil
		}
	case int64:
		if k.Kind == Number {
			return v, nil
		}
	case float64:
		if k.Kind == Number && v == float64(int64(v)) {
			return int64(v), nil
		}
	case json.Number:
		if n, err := v.Int64(); err == nil && k.Kind == Number {
			return n, nil
		}
	}
	kinds := map[Kind]string{Text: "a text", Secret: "a text", Number: "a whole number", Switch: "true or false"}
	return nil, fault.New(fault.Invalid, "setting %s must be %s", k.Name, kinds[k.Kind])
}

func (s *Settings) encode(key *Key, value any) (string, error) {
	if key.Kind == Secret && value != "" {
		value = s.options.Box.Seal("setting "+key.Name, []byte(value.(string)))
	}
	encoded, err := json.Marshal(value)
	return string(encoded), err
}

func (s *Settings) read(ctx context.Context) (Values, error) {
	rows, err := s.options.Store.Settings(ctx, prefix)
	if err != nil {
		return Values{}, fmt.Errorf("read settings: %w", err)
	}
	values := Values{set: make(map[*Key]any, len(rows)), pinned: s.options.Pinned}
	for name, encoded := range rows {
		key, known := Find(strings.TrimPrefix(name, prefix))
		if !known {
			continue // of a newer version
		}
		if values.set[key], err = s.decode(key, encoded); err != nil {
			return Values{}, fmt.Errorf("setting %s: %w", key.Name, err)
		}
	}
	return values, nil
}

func (s *Settings) decode(key *Key, encoded string) (any, error) {
	if key.Kind == Secret && encoded != `""` {
		var sealed []byte
		if err := json.Unmarshal([]byte(encoded), &sealed); err != nil {
			return nil, err
		}
		opened, err := s.options.Box.Open("setting "+key.Name, sealed)
		return string(opened), err
	}
	var value any
	decoder := json.NewDecoder(strings.NewReader(encoded))
	decoder.UseNumber() // a float64 has not all digits of a large number
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return key.convert(value)
}
