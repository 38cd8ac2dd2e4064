package destination

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"

	aperio "github.com/writer/aperio-plugin-go"
)

// SignatureHeader carries the signature of a body, as SignHMAC makes it.
const SignatureHeader = "x-aperio-signature"

// SignHMAC gives the signature of a body, for SignatureHeader: hex of HMAC-SHA256, nothing before it.
// The secret is what the receiver knows, too.
func SignHMAC(body []byte, secret string) string {
	signature := hmac.New(sha256.New, []byte(secret))
	_, _ = signature.Write(body) // a hash never fails
	return hex.EncodeToString(signature.Sum(nil))
}

// ResultOf gives the result for an envelope whose request failed, as package rest says it.
//
// Tried again, no sooner than the service asks: 429, 408, 425, 5xx and redirects, a service that
// does not answer in time or cannot be reached, a name that is not resolved. Rejected, with the code of
// InvalidArgument: every other 4xx but 401 and 403, which are about the key and not about the envelope.
//
// The error is the one that was given, when it is about the call: key, permission, a setting, the end
// of the call, a bug.
func ResultOf(envelope Envelope, err error) (Result, error) {
	var failure *aperio.Error
	if !errors.As(err, &failure) {
		return Result{}, err
	}
	status := failure.HTTPStatus
	isRefusal := status >= http.StatusBadRequest && status < http.StatusInternalServerError &&
		status != http.StatusRequestTimeout && status != http.StatusTooEarly
	isTransient := errors.Is(failure, aperio.RateLimited) || errors.Is(failure, aperio.Unavailable)
	isRefusal = isRefusal && isTransient || failure.Cause == aperio.InvalidArgument
	if !isRefusal && !isTransient {
		return Result{}, err
	}
	if isRefusal {
		reason := failure.Diagnostic()
		reason.Code = string(aperio.InvalidArgument) // later is of no help here
		return Rejected(envelope, reason), nil
	}
	return Retry(envelope, failure.Diagnostic(), failure.RetryAfter), nil
}

// HandOver sends envelopes together, and in halves where the service refuses the request for good. So
// one envelope that the service never takes, or a request that is too long, is not the end of those
// beside it. The function sends some of them in one request, and gives a result for each.
//
// An error stands beside the results that there are: it is as of ResultOf, or the service did not
// answer at all. Give both back from Deliver.
func HandOver(
	envelopes []Envelope, send func([]Envelope) ([]Result, error),
) ([]Result, error) {
	if len(envelopes) == 0 {
		return nil, nil
	}
	answered, err := send(envelopes)
	if err == nil || isSilence(err) {
		return answered, err
	}
	results := make([]Result, len(envelopes))
	for index, envelope := range envelopes {
		result, about := ResultOf(envelope, err)
		if about != nil {
			return nil, about
		}
		results[index] = result
	}
	if len(envelopes) == 1 || results[0].Status != StatusRejected {
		return results, nil
	}
	middle := len(envelopes) / 2
	first, err := HandOver(envelopes[:middle], send)
	if err != nil {
		return first, err
	}
	rest, err := HandOver(envelopes[middle:], send)
	return append(first, rest...), err
}

// isSilence tells whether the service did not answer at all.
func isSilence(err error) bool {
	var failure *aperio.Error
	return errors.As(err, &failure) && errors.Is(failure, aperio.Unavailable) && failure.HTTPStatus == 0
}
