package main

// window is the latest delivery keys that were written, as many as its limit.
type window struct {
	limit int
	end   position // of the files, when the window was last right

	ids    []string // a ring once it is full; next is the oldest then
	next   int
	counts map[string]int
}

func newWindow(limit int) *window { return &window{limit: limit, counts: map[string]int{}} }

func (w *window) has(id string) bool { return w.counts[id] > 0 }

func (w *window) isFull() bool { return len(w.ids) == w.limit }

// add takes the latest id; the oldest one leaves a full window.
func (w *window) add(id string) {
	if w.limit == 0 {
		return
	}
	w.counts[id]++
	if !w.isFull() {
		w.ids = append(w.ids, id)
		return
	}
	oldest := w.ids[w.next]
	if w.counts[oldest]--; w.counts[oldest] == 0 {
		delete(w.counts, oldest)
	}
	w.ids[w.next] = id
	w.next = (w.next + 1) % w.limit
}

// inOrder gives the ids, the oldest first.
func (w *window) inOrder() []string {
	if !w.isFull() {
		return w.ids
	}
	return append(append([]string{}, w.ids[w.next:]...), w.ids[:w.next]...)
}
