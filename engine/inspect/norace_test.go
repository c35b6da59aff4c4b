//go:build !race

package inspect

import "time"

// timeLimit is what headers of full size may take.
const timeLimit = 2 * time.Second
