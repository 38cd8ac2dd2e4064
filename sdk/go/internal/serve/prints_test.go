package serve

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
)

func TestTheMarkIsTakenOutWhereverAPieceEnds(t *testing.T) {
	whole := []byte("before\x00MARK")
	for first := range len(whole) + 1 {
		for second := first; second <= len(whole); second++ {
			prints := newPrints()
			prints.mark = []byte("\x00MARK")
			var sent []byte
			marks := 0
			for _, piece := range [][]byte{whole[:first], whole[first:second], whole[second:]} {
				rest, marked := prints.cut(1, piece)
				sent = append(sent, rest...)
				if marked {
					marks++
				}
			}
			if string(sent) != "before" || marks != 1 {
				t.Errorf("cut at %d and %d: sent %q with %d marks", first, second, sent, marks)
			}
		}
	}
}

func TestWhatOnlyBeginsLikeTheMarkIsSent(t *testing.T) {
	prints := newPrints()
	prints.mark = []byte("\x00MARK")
	first, _ := prints.cut(1, []byte("a\x00MA"))
	other, _ := prints.cut(2, []byte("RK"))
	second, marked := prints.cut(1, []byte("N\n"))
	if string(first)+string(second) != "a\x00MAN\n" || string(other) != "RK" || marked {
		t.Errorf("sent %q, %q and %q", first, second, other)
	}
}

func TestAFlushWithoutAHostPrintsNothing(t *testing.T) {
	pipe := &bytes.Buffer{}
	newPrints().flush(patience, pipe)
	if pipe.Len() != 0 {
		t.Errorf("printed %q", pipe)
	}
}

func TestAFlushEndsWhenNobodyReadsThePipes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		prints := newPrints()
		var cancelled context.CancelFunc = func() {}
		prints.streams[&cancelled] = struct{}{}
		prints.flush(patience, &bytes.Buffer{}) // time passes by itself here
	})
}
