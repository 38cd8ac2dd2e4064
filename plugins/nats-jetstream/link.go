package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	aperio "github.com/writer/aperio-plugin-go"
)

const (
	// kept is how long a connection that nobody uses stays for the next call.
	kept = 60 * time.Second
	// mostKept bounds the connections that nobody uses.
	mostKept = 32
	// pingEvery finds out that a server is gone while nothing is sent.
	pingEvery = 20 * time.Second
)

// link is a connection to a server that has the stream. It does not mend itself: when it breaks, the
// next call connects anew, to another server of the cluster perhaps, and looks at the stream again.
type link struct {
	settings   *settings
	connection *nats.Conn
	dialer     dialer
	jetStream  jetstream.JetStream
	subjects   []string // of the stream
	closed     chan struct{}
	denials    denials

	mutex     sync.Mutex // for all below
	isSpoiled bool
	users     int
	idle      *time.Timer // closes it when nobody uses it; the mutex of links is for this
}

// spoil has the link not be used by another call.
func (l *link) spoil() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.isSpoiled = true
}

func (l *link) isUsable() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return !l.isSpoiled && l.connection.IsConnected()
}

// use counts the callers, and gives how many there are now.
func (l *link) use(change int) int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.users += change
	return l.users
}

// links keeps connections between calls, each for one organization and its settings.
type links struct {
	keep  time.Duration // how long one that nobody uses is kept; 0: kept
	mutex sync.Mutex
	byKey map[[sha256.Size]byte]*link
}

// get gives a link, one that is there if possible. Its user calls put.
func (k *links) get(ctx context.Context, settings *settings, logger *slog.Logger) (*link, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if found := k.byKey[settings.key]; found != nil && found.isUsable() {
		found.use(+1)
		if found.idle != nil {
			found.idle.Stop()
		}
		return found, nil
	}
	k.mutex.Unlock()
	made, err := connect(ctx, settings, logger)
	k.mutex.Lock()
	if err != nil {
		return nil, err
	}
	made.use(+1)
	if k.byKey == nil {
		k.byKey = map[[sha256.Size]byte]*link{}
	}
	k.byKey[settings.key] = made // one that others use is closed when they put it back
	return made, nil
}

// put gives a link back.
func (k *links) put(link *link) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if link.use(-1) > 0 {
		return
	}
	if k.byKey[link.settings.key] != link || !link.isUsable() || len(k.byKey) > mostKept {
		k.drop(link)
		return
	}
	link.idle = time.AfterFunc(cmp.Or(k.keep, kept), func() {
		k.mutex.Lock()
		defer k.mutex.Unlock()
		if link.use(0) == 0 {
			k.drop(link)
		}
	})
}

func (k *links) drop(link *link) {
	if k.byKey[link.settings.key] == link {
		delete(k.byKey, link.settings.key)
	}
	if !link.isUsable() {
		link.interrupt()
	}
	link.connection.Close()
}

// dialer remembers what it dialed.
type dialer struct {
	net.Dialer
	dialed net.Conn
}

// Dial is for nats.go, which calls it from one goroutine, before there is a link.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	dialed, err := d.Dialer.Dial(network, address)
	d.dialed = dialed
	return dialed, err
}

// interrupt ends the connection under nats.go, which otherwise writes, and has everybody wait, until
// its own timeout. Messages that it had not sent are lost.
func (l *link) interrupt() {
	l.spoil()
	_ = l.dialer.dialed.Close()
}

// connect gives a link whose stream has been looked at. Errors are *aperio.Error.
func connect(ctx context.Context, settings *settings, logger *slog.Logger) (*link, error) {
	made := &link{settings: settings, closed: make(chan struct{})}
	made.denials.changed = make(chan struct{})
	made.dialer.Timeout = patience(ctx, settings)
	options := append([]nats.Option{
		nats.Name("aperio nats-jetstream"),
		nats.NoReconnect(), nats.IgnoreDiscoveredServers(), nats.SkipHostLookup(),
		nats.SetCustomDialer(&made.dialer), nats.Timeout(made.dialer.Timeout),
		nats.FlusherTimeout(settings.timeout),
		nats.PingInterval(pingEvery),
		nats.ClosedHandler(func(*nats.Conn) { close(made.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			made.denials.note(err)
			slog.Warn("the server complains", "error", err.Error()) // in no call
		}),
	}, settings.login...)
	if settings.secure != nil {
		options = append(options, nats.Secure(settings.secure))
	}
	if settings.isTLSFirst {
		options = append(options, nats.TLSHandshakeFirst())
	}
	connection, err := nats.Connect(strings.Join(settings.servers, ","), options...)
	if err != nil {
		return nil, connectFailure(settings, err)
	}
	made.connection = connection
	made.jetStream, err = jetstream.New(
		connection, jetstream.WithPublishAsyncTimeout(settings.timeout))
	if err == nil {
		err = made.inspect(ctx, logger)
	}
	if err != nil {
		connection.Close()
		return nil, err
	}
	return made, nil
}

// patience gives how long one server may take, so that there is time for each.
func patience(ctx context.Context, settings *settings) time.Duration {
	deadline, isSet := ctx.Deadline()
	if !isSet {
		return settings.timeout
	}
	share := time.Until(deadline) / time.Duration(len(settings.servers)+1)
	return max(time.Millisecond, min(settings.timeout, share))
}

// inspect looks at the stream: whether it is there, takes what is published, and says so.
func (l *link) inspect(ctx context.Context, logger *slog.Logger) error {
	name := l.settings.stream
	ctx, cancel := context.WithTimeout(ctx, l.settings.timeout)
	defer cancel()
	_, changed := l.denials.look("")
	go func() {
		select {
		case <-changed: // nothing will come
			cancel()
		case <-ctx.Done():
		}
	}()
	stream, err := l.jetStream.Stream(ctx, name)
	if refused := l.denials.any(); err != nil && refused != "" {
		return denial(refused)
	}
	if err != nil {
		return inspectFailure(name, err)
	}
	info := stream.CachedInfo()
	config := info.Config
	switch {
	case config.Mirror != nil:
		return refuse("stream", fmt.Sprintf(
			"the stream %s takes nothing: it mirrors %s", name, config.Mirror.Name))
	case config.Retention == jetstream.InterestPolicy && info.State.Consumers == 0:
		// It acknowledges each message all the same, and drops it.
		return refuse("stream", fmt.Sprintf(
			"the stream %s keeps what its consumers have not had (retention: interest), and it has none: "+
				"make its consumers first", name))
	case config.NoAck:
		return refuse("stream", fmt.Sprintf("the stream %s acknowledges nothing (no_ack)", name))
	case config.Sealed:
		return refuse("stream", fmt.Sprintf("the stream %s takes nothing more: it is sealed", name))
	}
	l.subjects = config.Subjects
	logger.Info("the stream is there", "stream", name, "subjects", config.Subjects,
		"repeats_left_out_for", config.Duplicates.String(), "storage", config.Storage.String(),
		"retention", config.Retention.String(), "server", l.connection.ConnectedUrlRedacted())
	return nil
}

// requireSubject refuses a subject that the stream does not take.
func (l *link) requireSubject(subject string) error {
	if slices.ContainsFunc(l.subjects, func(pattern string) bool { return covers(pattern, subject) }) {
		return nil
	}
	l.spoil()
	return &aperio.Error{
		Cause: aperio.InvalidConfig, Attribute: aperio.Path{aperio.Key("subject_prefix")},
		Summary: fmt.Sprintf("the stream %s does not take %s", l.settings.stream, subject),
		Detail: fmt.Sprintf("it takes: %s\nadd %s.> to its subjects, or correct subject_prefix",
			strings.Join(l.subjects, ", "), l.settings.prefix),
	}
}

// covers tells whether a subject fits a pattern (NATS documentation, "Subject-Based Messaging").
func covers(pattern, subject string) bool {
	words := strings.Split(subject, ".")
	for index, wanted := range strings.Split(pattern, ".") {
		switch {
		case index >= len(words):
			return false
		case wanted == ">":
			return true
		case wanted != "*" && wanted != words[index]:
			return false
		}
	}
	return strings.Count(pattern, ".") == len(words)-1
}

// connectFailure says why there is no connection. A failure that is worth another try is Unavailable:
// a name that is not found, too, because a resolver may be at fault.
func connectFailure(settings *settings, err error) error {
	var unknown x509.UnknownAuthorityError
	var misnamed x509.HostnameError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired),
		errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		return &aperio.Error{
			Cause: aperio.Unauthenticated, Err: err, Detail: err.Error(),
			Summary: "the server does not accept the user, token or credentials",
		}
	case errors.Is(err, nats.ErrSecureConnWanted):
		return &aperio.Error{
			Cause: aperio.InvalidConfig, Err: err, Attribute: aperio.Path{aperio.Key("servers")},
			Summary: "the server offers no TLS",
			Detail: "a password or token is not sent in the clear, except with allow_cleartext; " +
				"tls://, tls and ca ask for TLS in any case",
		}
	case errors.As(err, &noTLS):
		return &aperio.Error{
			Cause: aperio.InvalidConfig, Err: err, Attribute: aperio.Path{aperio.Key("tls")},
			Summary: "the server does not begin with TLS",
			Detail:  "give it handshake_first, or choose required instead of first",
		}
	case errors.As(err, &unknown), errors.As(err, &misnamed):
		return &aperio.Error{
			Cause: aperio.InvalidConfig, Err: err, Attribute: aperio.Path{aperio.Key("ca")},
			Summary: "the server's certificate is not one to trust", Detail: err.Error(),
		}
	}
	return &aperio.Error{
		Cause: aperio.Unavailable, Summary: "no server can be connected to", Err: err,
		Detail: fmt.Sprintf("%v\ntried: %s", err, strings.Join(settings.servers, ", ")),
	}
}

// inspectFailure says why the stream could not be looked at. A stream that is missing is a setting's
// fault, or the fault of whoever removed it, and not the envelopes': none is rejected for it.
func inspectFailure(name string, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return &aperio.Error{
			Cause: aperio.InvalidConfig, Err: err, Attribute: aperio.Path{aperio.Key("stream")},
			Summary: fmt.Sprintf("there is no stream %s", name),
			Detail:  "make it, or correct stream; nothing was published",
		}
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled),
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return &aperio.Error{
			Cause: aperio.InvalidConfig, Err: err, Attribute: aperio.Path{aperio.Key("servers")},
			Summary: "the server has no JetStream for this user", Detail: err.Error(),
		}
	}
	return &aperio.Error{
		Cause: aperio.Unavailable, Err: err, Detail: err.Error(),
		Summary: fmt.Sprintf("the stream %s cannot be looked at", name),
	}
}

// violation is what a server says of a subject that it does not let a user have
// (server/client.go of nats-server, pubPermissionViolation and subPermissionViolation).
var violation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]*)"`)

// denials are the subjects that the server does not let this user have.
type denials struct {
	mutex    sync.Mutex
	subjects map[string]string // what was tried, by subject
	changed  chan struct{}     // closed at the next one
}

// note takes an error that came outside of a call.
func (d *denials) note(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	what, subject := "publish", err.Error()
	if found := violation.FindStringSubmatch(err.Error()); found != nil {
		what, subject = strings.ToLower(found[1]), found[2]
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.subjects == nil {
		d.subjects = map[string]string{}
	}
	verb := map[string]string{"publish": "publish on ", "subscription": "subscribe to "}[what]
	d.subjects[subject] = verb + subject
	close(d.changed)
	d.changed = make(chan struct{})
}

// look tells whether a subject is among them, and gives what is closed when that may change.
func (d *denials) look(subject string) (bool, <-chan struct{}) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	_, found := d.subjects[subject]
	return found, d.changed
}

// any gives one of them, or nothing.
func (d *denials) any() string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for _, what := range d.subjects {
		return what
	}
	return ""
}
