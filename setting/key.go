package setting

// Kind is the type of a setting's value.
type Kind int

// The kinds of setting.
const (
	Text Kind = iota + 1
	Number
	Switch
	// Secret is text that is sealed at rest and never read back through the API.
	Secret
)

// Key is something that an administrator can set while the registry runs.
type Key struct {
	// Name is the key as Harbor's clients know it.
	Name    string
	Kind    Kind
	Default any // string, int64 or bool, by Kind

	rules []rule
}

// The settings by what they are about.
var (
	AuthMode        = text("auth_mode", "db_auth", oneOf("db_auth", "ldap_auth", "oidc_auth"))
	PrimaryAuthMode = toggle("primary_auth_mode", false)

	LDAPURL                      = text("ldap_url", "")
	LDAPBaseDN                   = text("ldap_base_dn", "")
	LDAPFilter                   = text("ldap_filter", "")
	LDAPUID                      = text("ldap_uid", "cn")
	LDAPScope                    = number("ldap_scope", 2, between(0, 2))
	LDAPSearchDN                 = text("ldap_search_dn", "")
	LDAPSearchPassword           = hidden("ldap_search_password")
	LDAPTimeout                  = number("ldap_timeout", 5, positive)
	LDAPVerifyCert               = toggle("ldap_verify_cert", true)
	LDAPGroupBaseDN              = text("ldap_group_base_dn", "")
	LDAPGroupAdminDN             = text("ldap_group_admin_dn", "")
	LDAPGroupAttributeName       = text("ldap_group_attribute_name", "")
	LDAPGroupSearchFilter        = text("ldap_group_search_filter", "")
	LDAPGroupSearchScope         = number("ldap_group_search_scope", 2, between(0, 2))
	LDAPGroupMembershipAttribute = text("ldap_group_membership_attribute", "memberof")
	LDAPGroupAttachParallel      = toggle("ldap_group_attach_parallel", false)

	UAAClientID     = text("uaa_client_id", "")
	UAAClientSecret = hidden("uaa_client_secret")
	UAAEndpoint     = text("uaa_endpoint", "")
	UAAVerifyCert   = toggle("uaa_verify_cert", false)

	HTTPAuthProxyEndpoint            = text("http_authproxy_endpoint", "")
	HTTPAuthProxyTokenReviewEndpoint = text("http_authproxy_tokenreview_endpoint", "")
	HTTPAuthProxyAdminGroups         = text("http_authproxy_admin_groups", "")
	HTTPAuthProxyAdminUsernames      = text("http_authproxy_admin_usernames", "")
	HTTPAuthProxyVerifyCert          = toggle("http_authproxy_verify_cert", true)
	HTTPAuthProxySkipSearch          = toggle("http_authproxy_skip_search", false)
	HTTPAuthProxyServerCertificate   = text("http_authproxy_server_certificate", "")

	OIDCName               = text("oidc_name", "")
	OIDCEndpoint           = text("oidc_endpoint", "")
	OIDCClientID           = text("oidc_client_id", "")
	OIDCClientSecret       = hidden("oidc_client_secret")
	OIDCGroupsClaim        = text("oidc_groups_claim", "")
	OIDCAdminGroup         = text("oidc_admin_group", "")
	OIDCGroupFilter        = text("oidc_group_filter", "", regularExpression)
	OIDCScope              = text("oidc_scope", "openid,profile,email", openIDScope)
	OIDCUserClaim          = text("oidc_user_claim", "")
	OIDCVerifyCert         = toggle("oidc_verify_cert", true)
	OIDCAutoOnboard        = toggle("oidc_auto_onboard", false)
	OIDCExtraRedirectParms = text("oidc_extra_redirect_parms", "{}", objectOfTexts)
	OIDCLogout             = toggle("oidc_logout", false)

	ProjectCreationRestriction = text("project_creation_restriction", "everyone", oneOf("everyone", "adminonly"))
	ReadOnly                   = toggle("read_only", false)
	SelfRegistration           = toggle("self_registration", false)
	TokenExpiration            = number("token_expiration", 30, positive)
	RobotTokenDuration         = number("robot_token_duration", 30, positiveOrNever)
	RobotNamePrefix            = text("robot_name_prefix", "robot$", robotPrefix)
	NotificationEnable         = toggle("notification_enable", true)
	QuotaPerProjectEnable      = toggle("quota_per_project_enable", true)
	StoragePerProject          = number("storage_per_project", -1, storageLimit)
	AuditLogForwardEndpoint    = text("audit_log_forward_endpoint", "", syslogEndpoint)
	SkipAuditLogDatabase       = toggle("skip_audit_log_database", false)
	SessionTimeout             = number("session_timeout", 60, positive)
	ScannerSkipUpdatePullTime  = toggle("scanner_skip_update_pulltime", false)
	BannerMessage              = text("banner_message", "")
	// SoftDeleteDays is for how many days deleted artifacts and tags can be restored; 0 is off.
	SoftDeleteDays             = number("soft_delete_days", 0, between(0, 365))
	DisabledAuditLogEventTypes = text("disabled_audit_log_event_types", "")
)

// keys are all keys, in the order of their definition.
var keys []*Key

// Keys returns all keys.
func Keys() []*Key { return keys }

// Find returns the key of a name.
func Find(name string) (*Key, bool) {
	for _, key := range keys {
		if key.Name == name {
			return key, true
		}
	}
	return nil, false
}

func define(name string, kind Kind, value any, rules []rule) *Key {
	key := &Key{Name: name, Kind: kind, Default: value, rules: rules}
	keys = append(keys, key)
	return key
}

func text(name, value string, rules ...rule) *Key         { return define(name, Text, value, rules) }
func hidden(name string) *Key                             { return define(name, Secret, "", nil) }
func number(name string, value int64, rules ...rule) *Key { return define(name, Number, value, rules) }

func toggle(name string, value bool) *Key { return define(name, Switch, value, nil) }
