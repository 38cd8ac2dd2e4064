package main

import (
	"bytes"
	"strconv"
)

// replacement is U+FFFD as JSON escapes it.
const replacement = `\ufffd`

// storable gives JSON that jsonb takes: where a text has an escaped NUL or half of a surrogate pair, it
// has U+FFFD instead. The other bytes are as they were. It gives how many were replaced.
func storable(data []byte) ([]byte, int) {
	if !bytes.Contains(data, []byte(`\u`)) {
		return data, 0
	}
	made, count := make([]byte, 0, len(data)), 0
	for len(data) > 0 {
		next := bytes.IndexByte(data, '\\')
		if next < 0 || next+1 >= len(data) {
			break
		}
		made, data = append(made, data[:next]...), data[next:]
		length, isStorable := escape(data)
		if isStorable {
			made = append(made, data[:length]...)
		} else {
			made = append(made, replacement...)
			count++
		}
		data = data[length:]
	}
	return append(made, data...), count
}

// escape tells how long the escape is that JSON begins with, and whether jsonb takes it.
func escape(data []byte) (length int, isStorable bool) {
	unit, isUnit := unitOf(data)
	switch {
	case !isUnit:
		return 2, true
	case unit == 0 || 0xdc00 <= unit && unit <= 0xdfff:
		return 6, false
	case unit < 0xd800 || unit > 0xdbff:
		return 6, true
	}
	if low, isUnit := unitOf(data[6:]); isUnit && 0xdc00 <= low && low <= 0xdfff {
		return 12, true
	}
	return 6, false
}

// unitOf reads `\uXXXX`.
func unitOf(data []byte) (uint64, bool) {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	return unit, err == nil
}
