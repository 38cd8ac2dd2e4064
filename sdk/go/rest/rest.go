// Package rest asks a JSON API over HTTPS with care: one line for each request in a plugin.
//
//	api, err := rest.New(rest.Options{BaseURL: address, Header: http.Header{"Authorization": {key}}})
//	err = api.GetInto(ctx, "/v1/account", nil, &account)
//	reply, err := api.Get(ctx, "/v1/events", url.Values{"after": {position}})
//	page, err := reply.Page("events")
//
// It follows no redirect, so that the key goes nowhere else; reads no more than it was told; waits
// when the service asks for it; and says by an *aperio.Error what went wrong.
package rest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/records"
)

const (
	defaultReplyBytes = 16 << 20
	defaultTimeout    = 30 * time.Second
	defaultWait       = time.Second
	longestWait       = 30 * time.Second
	mostWaits         = 3
)

// Options say which API it is, and how to ask it.
type Options struct {
	// BaseURL is where it is: https, or http to this machine for a stub.
	BaseURL string
	// Header goes along with every request; the key is in it.
	Header http.Header
	// Refusals are what a status means, in a sentence for the operator, such as 403.
	Refusals map[int]string
	// MaxReplyBytes: a longer reply is refused; 0: 16 MiB.
	MaxReplyBytes int64
	// Timeout is for one request and its reply; 0: 30 s.
	Timeout time.Duration
}

// Service is a JSON API with one key.
type Service struct {
	options Options
	base    string
	client  *http.Client
}

// New gives the service. The error has the cause InvalidConfig: the address may not be asked, or a
// header cannot carry its value, which the error does not say.
func New(options Options) (*Service, error) {
	base, err := checked(options.BaseURL)
	if err != nil {
		return nil, err
	}
	for name, values := range options.Header {
		if strings.ContainsFunc(strings.Join(values, ""), isUnfit) {
			return nil, &aperio.Error{
				Cause: aperio.InvalidConfig, Summary: "the header " + name + " cannot carry its value",
				Detail: "A setting in it has a line end or another control character." +
					" Look for one that was copied along with it.",
			}
		}
	}
	options.MaxReplyBytes = cmp.Or(options.MaxReplyBytes, defaultReplyBytes)
	client := &http.Client{
		Timeout: cmp.Or(options.Timeout, defaultTimeout),
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // what a request carries stays here
		},
	}
	return &Service{options: options, base: base, client: client}, nil
}

func isUnfit(character rune) bool {
	return character < ' ' && character != '\t' || character == 0x7f
}

func checked(address string) (string, error) {
	parts, err := url.Parse(address)
	isLocal := err == nil && parts.Scheme == "http" && isLoopback(parts.Hostname())
	if err != nil || parts.Scheme != "https" && !isLocal {
		return "", invalidAddress(
			"base_url must begin with https://; with http:// it may lead to this machine only")
	}
	if parts.Hostname() == "" {
		return "", invalidAddress("base_url names no host that can be asked")
	}
	if parts.User != nil || parts.RawQuery != "" || parts.Fragment != "" {
		return "", invalidAddress("base_url must have no user, `?` or `#`")
	}
	return strings.TrimRight(address, "/"), nil
}

func isLoopback(host string) bool {
	return host == "127.0.0.1" || host == "localhost" || host == "::1"
}

func invalidAddress(summary string) error {
	return &aperio.Error{
		Cause: aperio.InvalidConfig, Summary: summary,
		Attribute: aperio.Path{aperio.Key("base_url")},
	}
}

// Reply is the body that the service answered.
type Reply []byte

// Decode reads the JSON that the reply is. The error has the cause Unavailable.
func (r Reply) Decode(into any) error { return records.Decode(r, into) }

// Page cuts the list under a key into records, each as it was written. The error has the cause
// Unavailable.
func (r Reply) Page(key string) (*records.Page, error) { return records.Split(r, key) }

// Get asks for what is at a path below the address, and waits while the service is busy. The error
// is an *aperio.Error that says why there is no answer.
func (s *Service) Get(ctx context.Context, path string, query url.Values) (Reply, error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return s.ask(ctx, http.MethodGet, path, nil, nil, mostWaits)
}

// GetInto asks, and decodes the answer.
func (s *Service) GetInto(ctx context.Context, path string, query url.Values, into any) error {
	reply, err := s.Get(ctx, path, query)
	if err != nil {
		return err
	}
	return reply.Decode(into)
}

// Post sends a body to a path, and repeats it while the service is busy: make sure that a repeat is
// harmless. The header goes along beside that of all requests. An error with the cause ResultUnknown
// says that it was sent, and that there is no answer that says what came of it.
func (s *Service) Post(
	ctx context.Context, path string, body []byte, header http.Header,
) (Reply, error) {
	return s.ask(ctx, http.MethodPost, path, body, header, mostWaits)
}

// PostOnce sends a body, and leaves waiting to the caller: the error RateLimited says how long.
func (s *Service) PostOnce(
	ctx context.Context, path string, body []byte, header http.Header,
) (Reply, error) {
	return s.ask(ctx, http.MethodPost, path, body, header, 0)
}

func (s *Service) ask(
	ctx context.Context, method, path string, body []byte, header http.Header, waits int,
) (Reply, error) {
	for {
		reply, wait, err := s.once(ctx, method, path, body, header)
		if err != nil || wait == nil {
			return reply, err
		}
		if waits == 0 || *wait > longestWait {
			// The host comes back at that time.
			return nil, &aperio.Error{
				Cause: aperio.RateLimited, Summary: "the service asks to wait", RetryAfter: *wait,
			}
		}
		waits--
		if err := aperio.Sleep(ctx, *wait); err != nil {
			return nil, err
		}
	}
}

// once gives the answer, or how long the service asks to wait.
func (s *Service) once(
	ctx context.Context, method, path string, body []byte, header http.Header,
) (Reply, *time.Duration, error) {
	changes := method != http.MethodGet
	reply, err := s.send(ctx, method, path, body, header)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = reply.Body.Close() }() // it was only read
	if told := HostRefusal(reply.Status); told != nil {
		return nil, nil, told
	}
	if reply.StatusCode < 200 || reply.StatusCode > 299 {
		wait, err := s.meaning(reply)
		if err != nil && changes && reply.StatusCode >= http.StatusInternalServerError {
			// An error of the service itself may come after it has done what it was asked for.
			err.Cause = aperio.ResultUnknown
		}
		if err != nil {
			err.HTTPStatus = reply.StatusCode
			return nil, nil, err
		}
		return nil, wait, nil
	}
	data, err := io.ReadAll(io.LimitReader(reply.Body, s.options.MaxReplyBytes+1))
	broken := unavailable
	if changes {
		broken = open
	}
	switch {
	case err != nil:
		return nil, nil, broken("the service broke off in the middle of a reply", err)
	case int64(len(data)) > s.options.MaxReplyBytes:
		summary := fmt.Sprintf("a reply is longer than %d bytes", s.options.MaxReplyBytes)
		return nil, nil, broken(summary, nil)
	}
	return data, nil, nil
}

// send gives what the service answers, or says why nothing was answered.
func (s *Service) send(
	ctx context.Context, method, path string, body []byte, header http.Header,
) (*http.Response, error) {
	if err := requireBelow(path); err != nil {
		return nil, err
	}
	// Before there was a connection, TLS and tunnel included, nothing can have been sent.
	var wasReached atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { wasReached.Store(true) },
	})
	request, err := http.NewRequestWithContext(traced, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, unavailable("the service cannot be asked", err)
	}
	for _, more := range []http.Header{s.options.Header, header} {
		for name, values := range more {
			request.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	reply, err := s.client.Do(request)
	if err == nil {
		return reply, nil
	}
	told := HostRefusal(err.Error())
	switch {
	case told != nil:
		return nil, told
	case method != http.MethodGet && wasReached.Load():
		return nil, open("the request was sent, and the service broke off", err)
	case ctx.Err() != nil:
		return nil, &aperio.Error{
			Cause: aperio.Cancelled, Summary: "the call ended while the service was asked", Err: err,
		}
	}
	return nil, unavailable("the service cannot be reached", err)
}

// meaning gives how long to wait, or the error that a status means.
func (s *Service) meaning(reply *http.Response) (*time.Duration, *aperio.Error) {
	header := strings.Join(reply.Header.Values("Retry-After"), ", ")
	wait, isAsked := aperio.ParseRetryAfter(header, time.Now())
	status, said := reply.StatusCode, s.options.Refusals[reply.StatusCode]
	switch {
	case status == http.StatusTooManyRequests && !isAsked:
		wait = defaultWait
		return &wait, nil
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && isAsked:
		return &wait, nil
	case status == http.StatusUnauthorized:
		summary := cmp.Or(said, "the service does not accept the key")
		return nil, &aperio.Error{Cause: aperio.Unauthenticated, Summary: summary}
	case status == http.StatusForbidden:
		summary := cmp.Or(said, "the service does not let the key do this")
		return nil, &aperio.Error{Cause: aperio.PermissionDenied, Summary: summary}
	case said != "":
		return nil, &aperio.Error{Cause: aperio.InvalidArgument, Summary: said}
	}
	return nil, &aperio.Error{
		Cause: aperio.Unavailable, Summary: "the service answered " + reply.Status, RetryAfter: wait,
	}
}

// byHost is what the host answers, as a proxy, to a connection that it does not make.
var byHost = regexp.MustCompile(`Refused by aperio: ([a-z][a-z-]{0,38}[a-z])`)

var notMade = []string{"unresolved", "unreachable", "upstream-refused"}

const maybeMade = "broken" // the host's own failure, at any moment

// HostRefusal gives the error of a connection that the host did not make, of which nothing reached a
// service, from what a client says of the failure: an error's text, or the first line of an answer.
// The cause is PermissionDenied, when the plugin may not connect there; Unavailable, when it may and
// nobody answers there. It is nil where the host has said nothing.
func HostRefusal(said string) error {
	found := byHost.FindStringSubmatch(said)
	if found == nil || found[1] == maybeMade {
		return nil
	}
	if slices.Contains(notMade, found[1]) {
		return &aperio.Error{
			Cause: aperio.Unavailable, Summary: "no connection to the service could be made",
			Detail: found[1],
		}
	}
	return &aperio.Error{
		Cause: aperio.PermissionDenied, Summary: "the host does not let this plugin connect there",
		Detail: found[1],
	}
}

var upwards = regexp.MustCompile(`(?i)^(?:\.|%2e){1,2}$`)

// requireBelow refuses a path that servers read as one further up, whatever name was put into it.
func requireBelow(path string) error {
	plain, _, _ := strings.Cut(path, "?")
	if !slices.ContainsFunc(strings.Split(plain, "/"), upwards.MatchString) {
		return nil
	}
	return &aperio.Error{
		Cause: aperio.InvalidArgument, Summary: "a part of the request's path is `.` or `..`",
	}
}

// open gives the error of a change of which nobody knows what came.
func open(summary string, err error) error {
	told := &aperio.Error{Cause: aperio.ResultUnknown, Summary: summary, Err: err}
	if err != nil {
		told.Detail = err.Error()
	}
	return told
}

func unavailable(summary string, err error) error {
	told := &aperio.Error{Cause: aperio.Unavailable, Summary: summary, Err: err}
	if err != nil {
		told.Detail = err.Error()
	}
	return told
}
