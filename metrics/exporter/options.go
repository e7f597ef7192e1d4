package exporter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// DefaultPort is the port of [Options] that name none.
const DefaultPort = 9641

const (
	readTime  = 5 * time.Second
	writeTime = 15 * time.Second // for a request and its answer
)

// Options say where a server listens and who may ask it.
type Options struct {
	// Addr is an IP address or "localhost". The default is "127.0.0.1".
	Addr string `json:"addr"`
	// Port is the TCP port; 0 takes a free one. The default is DefaultPort.
	Port int `json:"port"`
	// AllowRemote permits an Addr that other machines can reach. The default is false.
	AllowRemote bool `json:"allow_remote"`
	// CertFile and KeyFile are the paths of certificate chain and key in PEM, for
	// TLS. The default is none.
	CertFile string `json:"cert_file"`
	KeyFile  string `json:"key_file"`
	// Username and Password are what clients must give as basic authentication. The
	// default is none.
	Username string `json:"username"`
	Password string `json:"password"`

	// readTime is how long a request may take to come, writeTime that with its
	// answer; tests need them short.
	readTime, writeTime time.Duration
}

// ParseOptions reads options from a JSON object over the defaults.
func ParseOptions(text []byte) (Options, error) {
	o := Options{Addr: "127.0.0.1", Port: DefaultPort}
	if len(bytes.TrimSpace(text)) > 0 {
		d := json.NewDecoder(bytes.NewReader(text))
		// A word that is misspelled would leave the default in its place, which may be an open
		// door.
		d.DisallowUnknownFields()
		if err := d.Decode(&o); err != nil {
			return o, fmt.Errorf("exporter: options: %w", err)
		}
	}
	return o, o.Validate()
}

// Validate returns all faults of the options, joined, or nil.
func (o Options) Validate() error {
	var faults []error
	refuse := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("exporter: "+format, args...))
	}
	ip := o.ip()
	switch {
	case ip == nil:
		refuse("addr: want an IP address or \"localhost\", got %q", o.Addr)
	// What a bucket is called and how much is in it is nobody's business by default.
	case !ip.IsLoopback() && !o.AllowRemote:
		refuse("addr: %s can be reached from other machines, which must be asked for: allow_remote", o.Addr)
	}
	if o.Port < 0 || o.Port > 65535 {
		refuse("port: want 0 to 65535, got %d", o.Port)
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		refuse("cert_file and key_file: want both or none")
	}
	if (o.Username == "") != (o.Password == "") {
		refuse("username and password: want both or none")
	}
	// Basic authentication ends the name at the first one.
	if strings.Contains(o.Username, ":") {
		refuse("username: must not contain a colon")
	}
	return errors.Join(faults...)
}

func (o Options) ip() net.IP {
	if o.Addr == "localhost" {
		return net.IPv4(127, 0, 0, 1)
	}
	return net.ParseIP(o.Addr)
}
