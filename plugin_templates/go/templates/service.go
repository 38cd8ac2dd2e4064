// service gives the service at the configured address, with the configured key.
func service(call *aperio.Invocation) (*rest.Service, error) {
	address, err := call.Config.TextOr("base_url", defaultBaseURL)
	if err != nil {
		return nil, err
	}
	key, err := call.Config.Text("api_key")
	if err != nil {
		return nil, err
	}
	return rest.New(rest.Options{
		BaseURL:  address,
		Header:   http.Header{"Authorization": {"Bearer " + key}},
		Refusals: refusals,
	})
}

func unavailable(summary string) error {
	return &aperio.Error{Cause: aperio.Unavailable, Summary: summary}
}
