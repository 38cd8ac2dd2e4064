package convert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"unicode/utf8"

	aperio "github.com/writer/aperio-plugin-go"
	"google.golang.org/protobuf/proto"
)

func FuzzObjectFrom(f *testing.F) {
	for _, seed := range []string{"", "{}", "[]", "null", `{"a":{"b":[1,"\ud800"]}}`, "{}{}", "\xff", "{\"a\":NaN}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		object, err := ObjectFrom(data, "it")
		if err != nil {
			if !errors.Is(err, aperio.InvalidArgument) || object != nil {
				t.Fatalf("got %v, %v", object, err)
			}
			return
		}
		if !utf8.Valid(data) || (len(data) > 0 && !json.Valid(data)) {
			t.Fatalf("%q was taken", data)
		}
		encoded, err := Object(object)
		if err != nil || !json.Valid(encoded) {
			t.Fatalf("%q came back as %q, %v", data, encoded, err)
		}
	})
}

func FuzzErrorDiagnosticsFitMetadata(f *testing.F) {
	f.Add("summary", "detail", "code")
	f.Add("\xff\n\u2028", "\x00", "")
	f.Fuzz(func(t *testing.T, summary, detail, code string) {
		failure := &aperio.Error{
			Cause: aperio.Cause(code), Summary: summary, Detail: detail,
			Attribute: aperio.Path{aperio.Key(shortened(clean(code), 100))},
		}
		message := ErrorDiagnostics(failure)
		message.Items[0].Code = "" // a name that the author chose
		encoded, err := proto.Marshal(message)
		if err != nil || len(encoded)+3*len(StatusText(failure)) > 8*1024+6*1024 {
			t.Fatalf("%d bytes, %v", len(encoded), err)
		}
	})
}

func TestAFailureThatNobodyForesawTellsItsTypeOnly(t *testing.T) {
	secret := errors.New("s3cret")
	told, foreseen := Failure(t.Context(), fmt.Errorf("reading: %w", secret))
	if foreseen || told.Cause != aperio.Failed || told.Summary != "the plugin failed with *fmt.wrapError" {
		t.Errorf("got %v, %v", told, foreseen)
	}
}

func TestAnErrorThatIsWrappedIsStillTold(t *testing.T) {
	made := &aperio.Error{Cause: aperio.RateLimited, Summary: "slow down"}
	told, foreseen := Failure(t.Context(), fmt.Errorf("page 2: %w", made))
	if !foreseen || told != made || !errors.Is(told, aperio.RateLimited) {
		t.Errorf("got %v, %v", told, foreseen)
	}
}

func TestTheEndOfTheCallIsNoBug(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	// A deadline of the plugin's own is one: the call goes on.
	if told, foreseen := Failure(ctx, context.DeadlineExceeded); foreseen {
		t.Errorf("got %v", told)
	}
	cancel()
	told, foreseen := Failure(ctx, fmt.Errorf("get: %w", context.Canceled))
	if !foreseen || told.Cause != aperio.Cancelled {
		t.Errorf("got %v, %v", told, foreseen)
	}
}
