package connector

import (
	"cmp"
	"strings"
	"unicode/utf8"

	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
)

// deadLetterMessage gives the message of a dead letter. What is too long is cut, what is not UTF-8
// is replaced, nothing is refused: it is what is left to say about a record that already was.
func deadLetterMessage(letter DeadLetter) *pb.SyncEvent {
	start := letter.Record[:min(len(letter.Record), maxExcerptBytes+utf8.UTFMax)]
	return &pb.SyncEvent{Item: &pb.SyncEvent_DeadLetter{DeadLetter: &pb.DeadLetter{
		Reason:        cmp.Or(line(letter.Reason, maxReasonBytes), "no reason was given"),
		Code:          cmp.Or(line(letter.Code, maxCodeBytes), "record-invalid"),
		SourceEventId: convert.Cut(letter.SourceEventID, maxIDBytes),
		Position:      line(letter.Position, maxPositionBytes),
		EventType:     convert.Cut(letter.Type, maxNameBytes),
		Origin:        convert.Cut(letter.Origin, maxNameBytes),
		Excerpt:       convert.Cut(string(start), maxExcerptBytes),
		RecordBytes:   uint64(len(letter.Record)),
	}}}
}

func line(text string, most int) string {
	return convert.Cut(strings.Join(strings.Fields(text), " "), most)
}
