// client keeps the key from following a redirect to another host.
var client = &http.Client{
	Timeout: requestTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("the service redirects, and the key does not follow")
	},
}

// baseURL gives the configured address: https, or http to this machine for a stub.
func baseURL(call *aperio.Invocation) (string, error) {
	address, err := call.Config.TextOr("base_url", defaultBaseURL)
	if err != nil {
		return "", err
	}
	parts, err := url.Parse(address)
	if err == nil && (parts.Scheme == "https" || parts.Scheme == "http" && isLoopback(parts)) {
		return strings.TrimRight(address, "/"), nil
	}
	return "", &aperio.Error{
		Cause: aperio.InvalidConfig, Summary: "base_url must begin with https://",
		Attribute: aperio.Path{aperio.Key("base_url")}, Err: err,
	}
}

func isLoopback(address *url.URL) bool {
	switch address.Hostname() {
	case "127.0.0.1", "localhost", "::1":
		return true
	}
	return false
}

func decode(body io.Reader, into any) error {
	data, err := io.ReadAll(io.LimitReader(body, maxReplyBytes+1))
	switch {
	case err != nil:
		return unavailable("the service broke off", err)
	case len(data) > maxReplyBytes:
		return unavailable(fmt.Sprintf("a reply is longer than %d bytes", maxReplyBytes), nil)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return unavailable("a reply is not the JSON that was expected", err)
	}
	return nil
}

func unavailable(summary string, err error) error {
	return &aperio.Error{Cause: aperio.Unavailable, Summary: summary, Err: err}
}
