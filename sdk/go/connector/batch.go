package connector

import (
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"google.golang.org/protobuf/proto"
)

// batch is what is sent in one message: events, or findings, or audit log entries.
type batch struct {
	events   []*pb.Event
	findings []*pb.Finding
	entries  []*pb.AuditLogEntry
	bytes    int
}

func (b *batch) length() int { return len(b.events) + len(b.findings) + len(b.entries) }

// takes says whether a message may be in this batch.
func (b *batch) takes(message proto.Message, size int) bool {
	same := 0
	switch message.(type) {
	case *pb.Event:
		same = len(b.events)
	case *pb.Finding:
		same = len(b.findings)
	case *pb.AuditLogEntry:
		same = len(b.entries)
	}
	length := b.length()
	return length == 0 || length == same && b.bytes+size <= batchBytes
}

func (b *batch) add(message proto.Message, size int) {
	b.bytes += size
	switch message := message.(type) {
	case *pb.Event:
		if b.events == nil {
			b.events = make([]*pb.Event, 0, batchItems)
		}
		b.events = append(b.events, message)
	case *pb.Finding:
		b.findings = append(b.findings, message)
	case *pb.AuditLogEntry:
		b.entries = append(b.entries, message)
	}
}

func (b *batch) message() *pb.SyncEvent {
	switch {
	case b.findings != nil:
		batch := &pb.FindingBatch{Findings: b.findings}
		return &pb.SyncEvent{Item: &pb.SyncEvent_Findings{Findings: batch}}
	case b.entries != nil:
		batch := &pb.AuditLogBatch{Entries: b.entries}
		return &pb.SyncEvent{Item: &pb.SyncEvent_AuditLog{AuditLog: batch}}
	default:
		return &pb.SyncEvent{Item: &pb.SyncEvent_Batch{Batch: &pb.EventBatch{Events: b.events}}}
	}
}
