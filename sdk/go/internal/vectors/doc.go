// Package vectors has no code, only a test: the scenarios of sdk/testdata, which every SDK answers
// alike. See the README there.
package vectors
