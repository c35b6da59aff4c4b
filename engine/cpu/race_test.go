//go:build race

package cpu

// raceDetector says that the race detector keeps memory of its own.
const raceDetector = true
