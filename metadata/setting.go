package metadata

import "context"

var (
	settingByName = define("setting", `SELECT value FROM settings WHERE name = $1`)
	insertSetting = define("put setting", `INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`)
)

// Setting returns a small value of the whole installation, or [ErrNotFound].
func (r Reader) Setting(ctx context.Context, key string) (string, error) {
	return one(ctx, r, settingByName, value[string], key)
}

// PutSettingIfAbsent sets a value that is set only once, and returns the one that holds: of gateways that start together, all
// get the first one's.
func (t *Tx) PutSettingIfAbsent(ctx context.Context, key, text string) (string, error) {
	if _, err := t.exec(ctx, insertSetting, key, text); err != nil {
		return "", err
	}
	return t.Setting(ctx, key)
}
