package metadata

import "context"

var (
	settingByName = define("setting", `SELECT value FROM settings WHERE name = $1`)
	settingsRange = define("settings", `SELECT name, value FROM settings WHERE name >= $1 AND name < $2`)
	insertSetting = define("put setting if absent", `INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`)
	upsertSetting = define("put setting", `
		INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`)
	deleteSetting = define("delete setting", `DELETE FROM settings WHERE name = $1`)
)

// settingRow is a row of settingsRange.
type settingRow struct{ name, value string }

func scanSetting(r row, s *settingRow) error { return r.Scan(&s.name, &s.value) }

// Setting returns a small value of the whole installation, or [ErrNotFound].
func (r Reader) Setting(ctx context.Context, key string) (string, error) {
	return one(ctx, r, settingByName, value[string], key)
}

// Settings returns the values whose names begin with the prefix, which ends in a slash, by their names.
func (r Reader) Settings(ctx context.Context, prefix string) (map[string]string, error) {
	rows, err := all(ctx, r, settingsRange, scanSetting, prefix, prefix[:len(prefix)-1]+"0") // the character after the slash
	if err != nil {
		return nil, err
	}
	values := make(map[string]string, len(rows))
	for _, row := range rows {
		values[row.name] = row.value
	}
	return values, nil
}

// PutSetting sets a value.
func (t *Tx) PutSetting(ctx context.Context, key, text string) error {
	_, err := t.exec(ctx, upsertSetting, key, text)
	return err
}

// PutSettingIfAbsent sets a value that is set only once, and returns the one that holds: of gateways that start together, all
// get the first one's.
func (t *Tx) PutSettingIfAbsent(ctx context.Context, key, text string) (string, error) {
	if _, err := t.exec(ctx, insertSetting, key, text); err != nil {
		return "", err
	}
	return t.Setting(ctx, key)
}

// DeleteSetting removes a value; one that is not there is removed already.
func (t *Tx) DeleteSetting(ctx context.Context, key string) error {
	_, err := t.exec(ctx, deleteSetting, key)
	return err
}
