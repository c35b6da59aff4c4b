//go:build race

package inspect

import "time"

// timeLimit is what headers of full size may take: the race detector slows it.
const timeLimit = 20 * time.Second
