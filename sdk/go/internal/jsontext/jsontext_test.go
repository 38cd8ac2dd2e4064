package jsontext_test

import (
	"testing"

	"github.com/writer/aperio-plugin-go/internal/jsontext"
)

func TestHalfOfASurrogatePairIsFound(t *testing.T) {
	for _, half := range []string{
		`"\ud800"`, `"\udc00"`, `"\uD83Dx\uDE00"`, `"\ud83d\ud83d\ude00"`, `"\ude00\ud83d"`,
		`["\ud83d","\ude00"]`, `"\ud83d\n"`, `"\\\ud83d"`,
	} {
		if !jsontext.HasHalf([]byte(half)) {
			t.Errorf("%s: none was found", half)
		}
	}
	for _, whole := range []string{
		`""`, `"\ud83d\ude00"`, `"\\ud83d"`, `"\ufffd"`, `"\ud83d\ude00\ud83d\ude00"`, `"\"\\\/"`, `"é😀"`,
	} {
		if jsontext.HasHalf([]byte(whole)) {
			t.Errorf("%s: one was found", whole)
		}
	}
}
