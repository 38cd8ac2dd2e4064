package aperio

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter is a month: what a service asks for beyond it is taken for it.
const MaxRetryAfter = 30 * 24 * time.Hour

var waitSeconds = regexp.MustCompile(`^\d+(?:\.\d*)?$`)

// ParseRetryAfter reads how long a Retry-After header asks to wait (RFC 9110, section 10.2.3):
// seconds, also with a fraction, or a date; of a list the longest counts. It is false for what makes
// no sense. The rule is the same in every SDK.
func ParseRetryAfter(header string, now time.Time) (time.Duration, bool) {
	parts := strings.Split(header, ",")
	candidates := append([]string{header}, parts...)
	for index := range len(parts) - 1 { // a date has a comma, too
		candidates = append(candidates, parts[index]+","+parts[index+1])
	}
	longest, found := time.Duration(0), false
	for _, candidate := range candidates {
		if wait, ok := oneWait(strings.TrimSpace(candidate), now); ok {
			longest, found = max(longest, wait), true
		}
	}
	return longest, found
}

func oneWait(text string, now time.Time) (time.Duration, bool) {
	if waitSeconds.MatchString(text) {
		seconds, _ := strconv.ParseFloat(text, 64) // beyond every float it is infinite
		if seconds >= MaxRetryAfter.Seconds() {
			return MaxRetryAfter, true
		}
		return time.Duration(seconds * float64(time.Second)), true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	return min(max(0, at.Sub(now)), MaxRetryAfter), true
}
