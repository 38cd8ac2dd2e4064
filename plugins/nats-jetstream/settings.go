package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	aperio "github.com/writer/aperio-plugin-go"
)

const (
	defaultPort    = "4222"
	defaultStream  = "CEREBRO_EVENTS"
	defaultPrefix  = "events"
	defaultTimeout = 10
	mostTimeout    = 60
	mostServers    = 16
	longestPrefix  = 128

	tlsOffered  = "offered"
	tlsRequired = "required"
	tlsFirst    = "first"
)

var (
	// streamName leaves out what a subject is made of, and what no file system takes.
	streamName = regexp.MustCompile(`^[^\s.*>/\\\x00-\x1f\x7f]{1,255}$`)
	prefixText = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

// fields are the settings; settings below has their values.
var fields = []aperio.Field{
	{
		Key: "servers", Label: "Servers", Required: true,
		Placeholder: "tls://nats-1.example.com:4222, tls://nats-2.example.com:4222",
		Helper: "Of one cluster, with commas between; `tls://` has them prove who they are, " +
			"and 4222 is the port without another.",
	},
	{
		Key: "stream", Label: "Stream", Default: defaultStream,
		Helper: "It has to be there, and to take the subjects below the prefix.",
	},
	{
		Key: "subject_prefix", Label: "Subject prefix", Default: defaultPrefix,
		Helper: "Subjects are the prefix, a dot, and the kind.",
	},
	{Key: "user", Label: "User"},
	{Key: "password", Label: "Password", Type: aperio.Password, Secret: true},
	{Key: "token", Label: "Token", Type: aperio.Password, Secret: true},
	{
		Key: "credentials", Label: "Credentials", Type: aperio.Password, Secret: true,
		Helper: "A .creds file in base64 (`base64 -w0 user.creds`), or the seed of an NKey.",
	},
	{
		Key: "tls", Label: "TLS", Type: aperio.Select, Options: []string{tlsOffered, tlsRequired, tlsFirst},
		Default: tlsOffered,
		Helper: "Where the server asks for it, always, or always and before the server says anything " +
			"(handshake_first).",
	},
	{
		Key: "ca", Label: "Certificate authorities",
		Helper: "A PEM file in base64 (`base64 -w0 ca.pem`): who signs the servers' " +
			"certificates; without it those of the system.",
	},
	{
		Key: "allow_cleartext", Label: "Send a password or token without TLS",
		Type: aperio.Boolean, Default: false,
		Helper: "To servers on this machine they are sent in any case.",
	},
	{
		Key: "timeout_s", Label: "Seconds to wait for an answer",
		Type: aperio.Number, Default: defaultTimeout,
		Helper: "From 1 to 60, for a connection and for each acknowledgement.",
	},
}

// settings are the operator's, checked. They hold secrets.
type settings struct {
	servers []string // as nats.go takes them
	stream  string
	prefix  string
	timeout time.Duration
	login   []nats.Option // how to say who one is; none: not at all
	secure  *tls.Config   // nil: TLS only if the server asks for it
	// isTLSFirst: TLS begins before the server says anything, which it otherwise does in the clear.
	isTLSFirst bool
	key        [sha256.Size]byte
}

// readSettings checks the settings of one organization.
func readSettings(config aperio.Config, organization string) (*settings, error) {
	texts, err := readTexts(config)
	if err != nil {
		return nil, err
	}
	seconds, err := config.NumberOr("timeout_s", defaultTimeout)
	if err != nil {
		return nil, err
	}
	isCleartextAllowed, err := config.FlagOr("allow_cleartext", false)
	if err != nil {
		return nil, err
	}
	if seconds < 1 || seconds > mostTimeout {
		return nil, refuse("timeout_s", fmt.Sprintf("timeout_s must be 1 to %d", mostTimeout))
	}
	if !streamName.MatchString(texts["stream"]) {
		return nil, refuse("stream", "stream is no name that a stream can have")
	}
	if prefix := texts["subject_prefix"]; !prefixText.MatchString(prefix) || len(prefix) > longestPrefix {
		return nil, refuse("subject_prefix", fmt.Sprintf(
			"subject_prefix must be words with dots between, at most %d characters: events", longestPrefix))
	}
	found := &settings{
		stream: texts["stream"], prefix: texts["subject_prefix"],
		timeout: time.Duration(seconds * float64(time.Second)),
	}
	servers, err := readServers(texts["servers"])
	if err != nil {
		return nil, refuse("servers", err.Error())
	}
	found.servers = servers.addresses
	if found.login, err = readLogin(texts); err != nil {
		return nil, err
	}
	isAtRisk := texts["password"] != "" || texts["token"] != ""
	needsTLS := servers.wantTLS || texts["tls"] != tlsOffered ||
		isAtRisk && !servers.areHere && !isCleartextAllowed
	if found.secure, err = readTLS(texts["ca"], needsTLS); err != nil {
		return nil, err
	}
	found.isTLSFirst = texts["tls"] == tlsFirst
	found.key, err = keyOf(organization, texts, seconds, isCleartextAllowed)
	return found, err
}

// keyOf gives what is different for every organization and every settings of it.
func keyOf(parts ...any) ([sha256.Size]byte, error) {
	data, err := json.Marshal(parts)
	return sha256.Sum256(data), err
}

func readTexts(config aperio.Config) (map[string]string, error) {
	otherwise := map[string]string{
		"stream": defaultStream, "subject_prefix": defaultPrefix, "tls": tlsOffered,
	}
	texts := map[string]string{}
	for _, key := range []string{
		"servers", "stream", "subject_prefix", "user", "password", "token", "credentials", "tls",
		"ca",
	} {
		text, err := config.TextOr(key, otherwise[key])
		if err != nil {
			return nil, err
		}
		texts[key] = text
	}
	return texts, nil
}

// servers are where to connect to.
type servers struct {
	addresses []string
	wantTLS   bool
	areHere   bool // all of them on this machine
}

// readServers reads a list of servers. The error says what is wrong with it, and shows none: people
// put passwords into addresses.
func readServers(list string) (*servers, error) {
	found := &servers{areHere: true}
	for number, text := range strings.Split(list, ",") {
		address, err := readServer(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("the server %d of servers %w", number+1, err)
		}
		found.wantTLS = found.wantTLS || address.Scheme == "tls"
		found.areHere = found.areHere && isHere(address.Hostname())
		found.addresses = append(found.addresses, address.String())
	}
	if len(found.addresses) > mostServers {
		return nil, fmt.Errorf("servers has more than %d", mostServers)
	}
	return found, nil
}

func readServer(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	address, err := url.Parse(text)
	switch {
	case err != nil || address.Hostname() == "":
		return nil, errors.New("is no address such as tls://nats.example.com:4222")
	case address.Scheme != "nats" && address.Scheme != "tls":
		return nil, errors.New("begins neither with nats:// nor with tls://")
	case address.User != nil:
		return nil, errors.New("has a user in it: the settings user, password, token are for that")
	case strings.Trim(address.Path, "/") != "" || address.RawQuery != "" || address.Fragment != "":
		return nil, errors.New("has something behind its port")
	}
	port := address.Port()
	if port == "" {
		port = defaultPort
	}
	host := net.JoinHostPort(strings.ToLower(address.Hostname()), port)
	return &url.URL{Scheme: address.Scheme, Host: host}, nil
}

func isHere(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// readLogin reads how to say who one is, in one way at most.
func readLogin(texts map[string]string) ([]nats.Option, error) {
	user, password, token := texts["user"], texts["password"], texts["token"]
	ways := 0
	for _, text := range []string{user, token, texts["credentials"]} {
		if text != "" {
			ways++
		}
	}
	switch {
	case ways > 1:
		return nil, refuse("credentials", "only one of user, token, credentials may be set")
	case (user == "") != (password == ""):
		return nil, refuse("password", "user and password are set together, or neither")
	case user != "":
		return []nats.Option{nats.UserInfo(user, password)}, nil
	case token != "":
		return []nats.Option{nats.Token(token)}, nil
	case texts["credentials"] != "":
		return readCredentials(unfolded(texts["credentials"]))
	}
	return nil, nil
}

// unfolded gives the file that a setting has in base64, because settings are one line; else the
// setting as it is.
func unfolded(text string) []byte {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		data = []byte(text)
	}
	return bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
}

// readCredentials reads a .creds file, or a seed.
func readCredentials(text []byte) ([]nats.Option, error) {
	pair, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return nil, refuse("credentials",
			"credentials is neither a .creds file in base64 nor the seed of a user's NKey")
	}
	if strings.Contains(string(text), "NATS USER JWT") {
		jwt, err := nkeys.ParseDecoratedJWT(text)
		if err != nil {
			return nil, refuse("credentials", "credentials has no JWT that can be read")
		}
		return []nats.Option{nats.UserJWT(func() (string, error) { return jwt, nil }, pair.Sign)}, nil
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, refuse("credentials", "credentials has a seed that is damaged")
	}
	return []nats.Option{nats.Nkey(public, pair.Sign)}, nil
}

// readTLS gives how to check a server; nil: TLS is up to the server.
func readTLS(authorities string, isNeeded bool) (*tls.Config, error) {
	if authorities == "" && !isNeeded {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if authorities != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(unfolded(authorities)) {
			return nil, refuse("ca", "ca is no PEM file with certificates in base64")
		}
	}
	return config, nil
}

func refuse(key, summary string) error {
	return &aperio.Error{
		Cause: aperio.InvalidConfig, Summary: summary,
		Attribute: aperio.Path{aperio.Key(key)},
	}
}
