package oidc

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/berth-registry/berth/setting"
)

// The bounds of groups, beyond which they are passed over.
const (
	maxGroups    = 1000
	maxGroupName = 255
)

// person is whom the provider has proven.
type person struct {
	Issuer  string
	Subject string
	// Name is the name that they would have here; it may be empty or taken.
	Name     string
	Email    string
	RealName string
	Groups   []string
	// Admin tells that one of their groups makes system administrators.
	Admin bool
	// IDToken is the provider's word for it.
	IDToken string
}

// claims are what a provider says about somebody.
type claims map[string]any

// text returns a claim that is a text.
func (c claims) text(name string) string {
	text, _ := c[name].(string)
	return text
}

// list returns a claim that is a list of texts, or one text.
func (c claims) list(name string) (list []string) {
	switch v := c[name].(type) {
	case string:
		return []string{v}
	case []any:
		for _, entry := range v {
			if text, ok := entry.(string); ok {
				list = append(list, text)
			}
		}
	}
	return list
}

// person reads who an ID token is about. What it does not say, the provider's user info endpoint may.
func (p *provider) person(ctx context.Context, values setting.Values, verified *oidc.IDToken, raw string, access *oauth2.Token) (person, error) {
	said := claims{}
	if p.UserInfoEndpoint() != "" {
		more, err := p.UserInfo(oidc.ClientContext(ctx, p.http), oauth2.StaticTokenSource(access))
		if err != nil {
			return person{}, err
		}
		// Only the ID token is bound to this login; what is about somebody else does not count.
		if more.Subject == verified.Subject {
			if err := more.Claims(&said); err != nil {
				return person{}, err
			}
		}
	}
	if err := verified.Claims(&said); err != nil { // over what is there
		return person{}, err
	}
	found := person{
		Issuer: verified.Issuer, Subject: verified.Subject, Email: said.text("email"), RealName: said.text("name"), IDToken: raw,
	}
	name := cmp.Or(said.text("preferred_username"), said.text("nickname"), said.text("name"))
	if claim := values.Text(setting.OIDCUserClaim); claim != "" {
		name = said.text(claim)
	}
	found.Name = userName(name)
	if claim := values.Text(setting.OIDCGroupsClaim); claim != "" {
		groups := said.list(claim)
		admin := values.Text(setting.OIDCAdminGroup)
		found.Admin = admin != "" && slices.Contains(groups, admin)
		found.Groups = wanted(groups, values.Text(setting.OIDCGroupFilter))
	}
	return found, nil
}

// userName is a name of the provider as one that users can have.
func userName(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune(`,:"~#%$/\`, r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSpace(name), "_"))
}

// wanted returns the groups that the filter leaves, each once.
func wanted(groups []string, filter string) []string {
	pattern, err := regexp.Compile(filter)
	if err != nil { // settings are checked when they are made
		return nil
	}
	var kept []string
	for _, group := range groups {
		if group != "" && len(group) <= maxGroupName && !strings.ContainsFunc(group, unicode.IsControl) && pattern.MatchString(group) {
			kept = append(kept, group)
		}
	}
	slices.Sort(kept)
	kept = slices.Compact(kept)
	return kept[:min(len(kept), maxGroups)]
}
