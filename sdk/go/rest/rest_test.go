package rest_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
	"github.com/writer/aperio-plugin-go/rest"
)

const secret = "made-up-key"

// served gives a service that sends one answer after another, byte for byte, and then hangs up; and
// what it was asked.
func served(t *testing.T, refusals map[int]string, answers ...string) (*rest.Service, func() []string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 16)
	go func() {
		defer close(asked)
		for _, answer := range answers {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			if request, err := http.ReadRequest(bufio.NewReader(connection)); err == nil {
				body, _ := io.ReadAll(request.Body)
				key := request.Header.Get("Idempotency-Key")
				asked <- strings.TrimSpace(
					request.Method + " " + request.RequestURI + " " + string(body) + key)
			}
			_, _ = io.WriteString(connection, answer)
			_ = connection.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	service, err := rest.New(rest.Options{
		BaseURL: "http://" + listener.Addr().String() + "/", Refusals: refusals,
		Header: http.Header{"Authorization": {"Bearer " + secret}}, MaxReplyBytes: 1000,
		Timeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return service, func() []string {
		_ = listener.Close()
		var seen []string
		for request := range asked {
			seen = append(seen, request)
		}
		return seen
	}
}

func answer(status, body string, headers ...string) string {
	lines := append([]string{"HTTP/1.1 " + status, "Connection: close"}, headers...)
	return strings.Join(append(lines, "", body), "\r\n")
}

func TestAReplyIsReadWhole(t *testing.T) {
	chunked := "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"8\r\n{\"a\":\"b\"\r\n1\r\n}\r\n0\r\n\r\n"
	service, asked := served(t, nil, answer("200 OK", `{"list":[{"a":1.0}]}`), chunked,
		answer("200 OK", "{}"))
	reply, err := service.Get(t.Context(), "/x", url.Values{"after": {"a b"}})
	if err != nil {
		t.Fatal(err)
	}
	page, err := reply.Page("list")
	if err != nil || string(page.Records[0].JSON) != `{"a":1.0}` {
		t.Errorf("got %v, %v", page, err)
	}
	var fields struct{ A string }
	if err := service.GetInto(t.Context(), "/y", nil, &fields); err != nil || fields.A != "b" {
		t.Errorf("got %v, %v", fields, err)
	}
	key := http.Header{"Idempotency-Key": {"+k"}}
	if _, err := service.Post(t.Context(), "/z", []byte("body"), key); err != nil {
		t.Error(err)
	}
	if got := strings.Join(asked(), ", "); got != "GET /x?after=a+b, GET /y, POST /z body+k" {
		t.Errorf("asked %q", got)
	}
}

func TestABrokenAnswerIsUnavailable(t *testing.T) {
	for _, broken := range []string{
		"", "\r\n", "nonsense\r\n\r\n", "HTTP/1.1 abc X\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"a\":1}",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{\"a\":1}",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
		answer("302 Found", "", "Location: http://127.0.0.1:1/"), answer("500 X", ""),
		answer("404 X", ""), answer("200 OK", strings.Repeat("x", 1001)),
		answer("200 OK", ""), answer("200 OK", "[1]"), answer("200 OK", strings.Repeat("[", 900)),
	} {
		service, _ := served(t, nil, broken)
		var fields struct{ A string }
		err := service.GetInto(t.Context(), "/", nil, &fields)
		if !errors.Is(err, aperio.Unavailable) || strings.Contains(err.Error(), secret) {
			t.Errorf("%.40q: got %v", broken, err)
		}
	}
}

func TestAChangeWithoutAnAnswerThatSaysMoreIsUnknown(t *testing.T) {
	for _, broken := range []string{
		"nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"a\":1}",
		answer("500 X", ""), answer("502 X", ""),
	} {
		service, _ := served(t, nil, broken)
		_, err := service.PostOnce(t.Context(), "/", []byte("{}"), nil)
		if !errors.Is(err, aperio.ResultUnknown) || !errors.Is(err, aperio.Unavailable) {
			t.Errorf("%.40q: got %v", broken, err)
		}
	}
}

func TestAChangeThatWasRefusedWasNotMade(t *testing.T) {
	service, _ := served(t, nil, answer("400 X", ""))
	if _, err := service.PostOnce(t.Context(), "/", nil, nil); errors.Is(err, aperio.ResultUnknown) {
		t.Errorf("got %v", err)
	}
	nobody := httptest.NewServer(nil)
	nobody.Close()
	service, err := rest.New(rest.Options{BaseURL: nobody.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, err = service.PostOnce(t.Context(), "/", nil, nil)
	if errors.Is(err, aperio.ResultUnknown) || !errors.Is(err, aperio.Unavailable) {
		t.Errorf("got %v", err)
	}
}

func TestWhatTheHostDoesNotConnectIsNoAnswerOfTheService(t *testing.T) {
	forbidden := map[int]string{http.StatusForbidden: "the key may not read"}
	for status, cause := range map[string]error{
		"403 Refused by aperio: not-granted":        aperio.PermissionDenied,
		"403 Refused by aperio: address-not-public": aperio.PermissionDenied,
		"502 Refused by aperio: unresolved":         aperio.Unavailable,
		"502 Refused by aperio: unreachable":        aperio.Unavailable,
	} {
		service, _ := served(t, forbidden, answer(status, ""))
		_, err := service.PostOnce(t.Context(), "/", nil, nil)
		if !errors.Is(err, cause) || errors.Is(err, aperio.ResultUnknown) {
			t.Errorf("%s: got %v", status, err)
		}
		if strings.Contains(err.Error(), forbidden[http.StatusForbidden]) {
			t.Errorf("%s: got the service's word: %v", status, err)
		}
	}
	service, _ := served(t, nil, answer("502 Refused by aperio: broken", ""))
	_, err := service.PostOnce(t.Context(), "/", nil, nil)
	if !errors.Is(err, aperio.ResultUnknown) {
		t.Errorf("broken: got %v", err)
	}
}

func TestATunnelThatTheHostRefusesIsTold(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(connection, answer("403 Refused by aperio: not-granted", ""))
		_ = connection.Close()
	}))
	defer proxy.Close()
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(address)}}
	_, err = client.Get("https://api.example.com/")
	if err == nil {
		t.Fatal("expected an error")
	}
	if told := rest.HostRefusal(err.Error()); !errors.Is(told, aperio.PermissionDenied) {
		t.Errorf("got %v of %v", told, err)
	}
	if told := rest.HostRefusal("403 Forbidden"); told != nil {
		t.Errorf("got %v", told)
	}
}

func TestAChangeWasNotSentWhereTLSDidNotBegin(t *testing.T) {
	plain := httptest.NewServer(nil)
	defer plain.Close()
	service, err := rest.New(rest.Options{BaseURL: strings.Replace(plain.URL, "http:", "https:", 1)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = service.PostOnce(t.Context(), "/", nil, nil)
	if errors.Is(err, aperio.ResultUnknown) || !errors.Is(err, aperio.Unavailable) {
		t.Errorf("got %v", err)
	}
}

func TestANameThatLeadsFurtherUpIsNotAskedFor(t *testing.T) {
	for _, target := range []string{".", "..", "%2e", "%2E.", ".%2e"} {
		service, seen := served(t, nil)
		_, err := service.Post(t.Context(), "/v1/users/"+target+"/suspend", nil, nil)
		if !errors.Is(err, aperio.InvalidArgument) {
			t.Errorf("%s: got %v", target, err)
		}
		if asked := seen(); len(asked) > 0 {
			t.Errorf("%s: asked %v", target, asked)
		}
	}
	service, seen := served(t, nil, answer("200 OK", "{}"))
	if _, err := service.Get(t.Context(), "/a..b/.c/...", url.Values{"next": {".."}}); err != nil {
		t.Fatal(err)
	}
	if asked := seen(); len(asked) != 1 || asked[0] != "GET /a..b/.c/...?next=.." {
		t.Errorf("asked %v", asked)
	}
}

func TestACallThatEndedIsNoFaultOfTheService(t *testing.T) {
	service, _ := served(t, nil, answer("200 OK", "{}"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := service.Get(ctx, "/", nil); !errors.Is(err, aperio.Cancelled) {
		t.Errorf("got %v", err)
	}
}

func TestAStatusHasAMeaning(t *testing.T) {
	refusals := map[int]string{403: "the key may not read", 404: "no such user"}
	for status, wanted := range map[string]struct {
		cause aperio.Cause
		said  string
	}{
		"401 X": {aperio.Unauthenticated, "the service does not accept the key"},
		"403 X": {aperio.PermissionDenied, "the key may not read"},
		"404 X": {aperio.InvalidArgument, "no such user"},
		"410 X": {aperio.Unavailable, "the service answered 410"},
	} {
		service, _ := served(t, refusals, answer(status, ""))
		_, err := service.Get(t.Context(), "/", nil)
		if !errors.Is(err, wanted.cause) || !strings.Contains(err.Error(), wanted.said) {
			t.Errorf("%s: got %v", status, err)
		}
	}
}

func TestABusyServiceIsAskedAgainAndThenLeftToTheHost(t *testing.T) {
	busy := answer("429 X", "", "Retry-After: 0")
	service, asked := served(t, nil, busy, answer("200 OK", "{}"), busy, busy, busy, busy)
	if _, err := service.Get(t.Context(), "/", nil); err != nil {
		t.Error(err)
	}
	if _, err := service.Get(t.Context(), "/", nil); !errors.Is(err, aperio.RateLimited) {
		t.Errorf("got %v", err)
	}
	if got := len(asked()); got != 6 {
		t.Errorf("asked %d times", got)
	}
}

func TestALongWaitIsTheHosts(t *testing.T) {
	for header, wait := range map[string]time.Duration{
		"31": 31 * time.Second, "1" + strings.Repeat("0", 20): aperio.MaxRetryAfter,
	} {
		service, _ := served(t, nil, answer("503 X", "", "Retry-After: 3", "Retry-After: "+header))
		_, err := service.Get(t.Context(), "/", nil)
		var told *aperio.Error
		if !errors.As(err, &told) || told.Cause != aperio.RateLimited || told.RetryAfter != wait {
			t.Errorf("%s: got %v", header, err)
		}
	}
	service, _ := served(t, nil, answer("429 X", "", "Retry-After: nan"))
	_, err := service.PostOnce(t.Context(), "/", nil, nil)
	var told *aperio.Error
	if !errors.As(err, &told) || told.RetryAfter != time.Second {
		t.Errorf("got %v", err)
	}
}

func TestAnAddressThatWouldExposeTheKeyIsRefused(t *testing.T) {
	for _, address := range []string{
		"http://example.com", "ftp://x", "example.com", "https://", "https://[", "https://a:b",
		"https://user:pw@example.com", "https://example.com?x=1", "https://example.com#x", "",
	} {
		if _, err := rest.New(rest.Options{BaseURL: address}); !errors.Is(err, aperio.InvalidConfig) {
			t.Errorf("%s: got %v", address, err)
		}
	}
}

func TestAHeaderThatCannotCarryItsValueDoesNotSayIt(t *testing.T) {
	for _, value := range []string{"key\n", "key\r", "k\x00ey", "k\x7f"} {
		header := http.Header{"Authorization": {value}}
		_, err := rest.New(rest.Options{BaseURL: "https://example.com", Header: header})
		if !errors.Is(err, aperio.InvalidConfig) || strings.Contains(err.Error(), value) {
			t.Errorf("%q: got %v", value, err)
		}
	}
}

func handedOver(
	t *testing.T, service *rest.Service, ids ...string,
) ([]destination.Result, error) {
	t.Helper()
	envelopes := make([]destination.Envelope, len(ids))
	for index, id := range ids {
		envelopes[index] = destination.Envelope{ID: id}
	}
	return destination.HandOver(envelopes, func(batch []destination.Envelope) ([]destination.Result, error) {
		if _, err := service.PostOnce(t.Context(), "/in", nil, nil); err != nil {
			return nil, err
		}
		results := make([]destination.Result, len(batch))
		for index, envelope := range batch {
			results[index] = destination.Accepted(envelope)
		}
		return results, nil
	})
}

func TestWhatAServiceAnswersIsWhatBecomesOfTheEnvelope(t *testing.T) {
	retryAfter := func(status, seconds string) string {
		return answer(status, "", "Retry-After: "+seconds)
	}
	for given, want := range map[string]struct {
		status destination.Status
		wait   time.Duration
	}{
		answer("200 OK", "{}"):     {destination.StatusAccepted, 0},
		answer("429 X", ""):        {destination.StatusRetry, time.Second},
		retryAfter("429 X", "600"): {destination.StatusRetry, 10 * time.Minute},
		retryAfter("503 X", "7"):   {destination.StatusRetry, 7 * time.Second},
		answer("500 X", ""):        {destination.StatusRetry, 0},
		retryAfter("502 X", "9"):   {destination.StatusRetry, 9 * time.Second},
		answer("408 X", ""):        {destination.StatusRetry, 0},
		answer("425 X", ""):        {destination.StatusRetry, 0},
		answer("400 X", ""):        {destination.StatusRejected, 0},
		answer("404 X", ""):        {destination.StatusRejected, 0},
		retryAfter("422 X", "5"):   {destination.StatusRejected, 0},
	} {
		service, _ := served(t, nil, given)
		got, err := handedOver(t, service, "a")
		if err != nil || got[0].Status != want.status || got[0].RetryAfter != want.wait {
			t.Errorf("%.20q: got %+v, %v", given, got, err)
		}
	}
	for given, want := range map[string]aperio.Cause{
		answer("401 X", ""): aperio.Unauthenticated, answer("403 X", ""): aperio.PermissionDenied,
		"": aperio.Unavailable,
	} {
		service, _ := served(t, nil, given)
		if got, err := handedOver(t, service, "a"); len(got) != 0 || !errors.Is(err, want) {
			t.Errorf("%.20q: got %+v, %v", given, got, err)
		}
	}
}

func TestANameThatIsNotResolvedAndASilentServiceAreTriedAgain(t *testing.T) {
	resolver := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = resolver })
	net.DefaultResolver = &net.Resolver{
		PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("no network")
		},
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, address := range []string{
		"https://intake.example.com", "http://" + silent.Addr().String(),
	} {
		service, err := rest.New(rest.Options{BaseURL: address, Timeout: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		_, err = handedOver(t, service, "a", "b")
		got, about := destination.ResultOf(destination.Envelope{ID: "a"}, err)
		if about != nil || got.Status != destination.StatusRetry {
			t.Errorf("%s: got %+v, %v of %v", address, got, about, err)
		}
	}
}

func TestOneEnvelopeThatIsNeverTakenIsNotTheEndOfThoseBesideIt(t *testing.T) {
	var envelopes []destination.Envelope
	for _, id := range "abcdxfgh" {
		envelopes = append(envelopes, destination.Envelope{ID: string(id)})
	}
	var sent []string
	send := func(batch []destination.Envelope) ([]destination.Result, error) {
		names, results := "", []destination.Result{}
		for _, envelope := range batch {
			names += envelope.ID
			results = append(results, destination.Accepted(envelope))
		}
		sent = append(sent, names)
		if strings.Contains(names, "x") {
			return nil, &aperio.Error{Cause: aperio.Unavailable, Summary: "refused", HTTPStatus: 400}
		}
		return results, nil
	}
	results, err := destination.HandOver(envelopes, send)
	if err != nil {
		t.Fatal(err)
	}
	for index, result := range results {
		wanted := destination.StatusAccepted
		if result.ID == "x" {
			wanted = destination.StatusRejected
		}
		if result.ID != envelopes[index].ID || result.Status != wanted {
			t.Errorf("got %+v", result)
		}
	}
	if got := strings.Join(sent, " "); got != "abcdxfgh abcd xfgh xf x f gh" {
		t.Errorf("sent %s", got)
	}
}

func TestAnswersBeforeAServiceWentAwayCount(t *testing.T) {
	results, err := destination.HandOver(
		[]destination.Envelope{{ID: "a"}, {ID: "b"}},
		func(batch []destination.Envelope) ([]destination.Result, error) {
			switch {
			case len(batch) > 1:
				return nil, &aperio.Error{Cause: aperio.InvalidArgument, Summary: "too many"}
			case batch[0].ID == "b":
				return nil, &aperio.Error{Cause: aperio.Unavailable, Summary: "gone"}
			}
			return []destination.Result{destination.Accepted(batch[0])}, nil
		})
	if len(results) != 1 || results[0].ID != "a" || !errors.Is(err, aperio.Unavailable) {
		t.Errorf("got %+v, %v", results, err)
	}
}
