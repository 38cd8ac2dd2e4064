package aperio

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// rfc3339 has the date, hour, minute, second, fraction, the letter or sign, and the offset.
var rfc3339 = regexp.MustCompile(
	`^(\d{4}-\d\d-\d\d)[Tt ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:[.,](\d+))?` +
		`(?:([Zz]|[+-])(?:([01]\d|2[0-3])(?::?([0-5]\d))?)?)?$`)

const (
	nanosecondDigits = 9
)

// ParseTime reads a time as services write it: RFC 3339, with `t` and `z` in lower case, a space
// instead of the `T`, and offsets without a colon or minutes as well. Nanoseconds are kept, digits
// beyond them dropped. A second 60 is the next second, which is what a leap second is to every
// clock without them. The error, which begins with what, is about text that is no time, has no time
// zone, or lies outside of the years 1 to 9999 in UTC. The rule is the same in every SDK.
func ParseTime(text, what string) (time.Time, error) {
	found := rfc3339.FindStringSubmatch(text)
	isUTC := found != nil && (found[6] == "Z" || found[6] == "z")
	if found == nil || isUTC != (found[7] == "") && found[6] != "" {
		return time.Time{}, fmt.Errorf("%s is not a time as RFC 3339 has it: %.64q", what, text)
	}
	if found[6] == "" {
		return time.Time{}, fmt.Errorf("%s has no time zone: %.64q", what, text)
	}
	day, err := time.Parse(time.DateOnly, found[1])
	if err != nil || day.Year() == 0 {
		return time.Time{}, fmt.Errorf("%s is not a time: %.64q: there is no such day", what, text)
	}
	number := func(digits string) int {
		value, _ := strconv.Atoi(digits) // two digits at most, or none, which is 0
		return value
	}
	offset := number(found[7])*3600 + number(found[8])*60
	if found[6] == "-" {
		offset = -offset
	}
	at := time.Date(
		day.Year(), day.Month(), day.Day(), number(found[2]), number(found[3]), number(found[4]),
		nanoseconds(found[5]), time.FixedZone("", offset),
	)
	return at, CheckTime(at, what)
}

func nanoseconds(fraction string) int {
	if len(fraction) > nanosecondDigits {
		fraction = fraction[:nanosecondDigits]
	}
	value, _ := strconv.Atoi(fraction)
	for range nanosecondDigits - len(fraction) {
		value *= 10
	}
	return value
}

// CheckTime refuses a time that is not set, or outside of the years 1 to 9999 in UTC.
func CheckTime(at time.Time, what string) error {
	if at == (time.Time{}) { // unlike IsZero, this knows a time of year 1 that was read
		return fmt.Errorf("%s is not set", what)
	}
	if year := at.UTC().Year(); year < 1 || year > 9999 {
		return fmt.Errorf("%s is outside of the years 1 to 9999 in UTC: %v", what, at)
	}
	return nil
}
