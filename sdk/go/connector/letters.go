package connector

import (
	"cmp"
	"strings"
	"unicode/utf8"

	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
)

// deadLetterMessage gives the message of a dead letter. What is too long is cut, what is not UTF-8
// is replaced, nothing is refused: it is what is left to say about a record that already was.
func deadLetterMessage(letter DeadLetter) *pb.SyncEvent {
	start := letter.Record[:min(len(letter.Record), maxExcerptBytes+utf8.UTFMax)]
	return &pb.SyncEvent{Item: &pb.SyncEvent_DeadLetter{DeadLetter: &pb.DeadLetter{
		Reason:        cmp.Or(line(letter.Reason, maxReasonBytes), "no reason was given"),
		Code:          cmp.Or(line(letter.Code, maxCodeBytes), "record-invalid"),
		SourceEventId: cut(letter.SourceEventID, maxIDBytes),
		Position:      line(letter.Position, maxPositionBytes),
		EventType:     cut(letter.Type, maxNameBytes),
		Origin:        cut(letter.Origin, maxNameBytes),
		Excerpt:       cut(string(start), maxExcerptBytes),
		RecordBytes:   uint64(len(letter.Record)),
	}}}
}

func line(text string, most int) string { return cut(strings.Join(strings.Fields(text), " "), most) }

// cut gives at most so many bytes of a text, whole characters, and what is not UTF-8 replaced.
func cut(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}
