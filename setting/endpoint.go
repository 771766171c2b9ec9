package setting

import (
	"errors"
	"net"
	"strconv"
	"strings"
)

// SyslogEndpoint is where the audit log is forwarded to.
type SyslogEndpoint struct {
	// TLS is on for tls://.
	TLS bool
	// Address is a host and port.
	Address string
}

// ParseSyslogEndpoint reads tcp://host:port, tls://host:port, or host:port, which is the former. The zero endpoint is that of "".
func ParseSyslogEndpoint(text string) (SyslogEndpoint, error) {
	if text == "" {
		return SyslogEndpoint{}, nil
	}
	address, secure := strings.CutPrefix(text, "tls://")
	if !secure {
		address = strings.TrimPrefix(text, "tcp://")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsAny(host, "/@ ") {
		return SyslogEndpoint{}, errors.New("must be like tcp://host:514 or tls://host:6514")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return SyslogEndpoint{}, errors.New("must have a port from 1 to 65535")
	}
	return SyslogEndpoint{TLS: secure, Address: address}, nil
}

func syslogEndpoint(value any) string {
	if _, err := ParseSyslogEndpoint(value.(string)); err != nil {
		return err.Error()
	}
	return ""
}
